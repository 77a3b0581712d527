"""Recipes from the shell, from the skeleton to the last stage."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from speechkit.cli.main import call
from speechkit.shipped import shipped_folder

TOY = Path(__file__).parent / "toy" / "recipe.py"


@pytest.fixture
def skeleton(tmp_path, monkeypatch):
    """An empty project with one recipe made by `speechkit new`."""
    monkeypatch.chdir(tmp_path)
    assert call(["new", "demo"]) == 0
    return tmp_path


@pytest.fixture
def project(skeleton):
    """The same with stages that take no time."""
    shutil.copy(TOY, "recipes/demo/recipe.py")
    Path("recipes/demo/conf/default.yaml").write_text("prepare:\n  items: 10\n")
    return skeleton


@pytest.mark.slow
def test_the_skeleton_runs_end_to_end_at_once_from_any_folder(skeleton, tmp_path_factory):
    run = skeleton / "recipes" / "demo" / "run.sh"
    assert len(run.read_text().splitlines()) == 3
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run([str(run)], capture_output=True, text=True, check=False, env=environment, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    rows = (elsewhere / "exp" / "demo" / "02-features" / "current" / "features.jsonl").read_text().splitlines()
    assert json.loads(rows[0])["id"] == "bees-0000"
    figure, results, following = done.stderr.splitlines()[-3:]
    assert figure.endswith(" s of speech")
    assert results == "results: exp/demo/03-report/current/report.md"
    assert following == "next: cat exp/demo/03-report/current/report.md"


def test_the_skeleton_says_in_its_readme_what_works(skeleton, capsys):
    readme = (skeleton / "recipes" / "demo" / "README.md").read_text()
    commands = [line.split()[1:] for line in readme.splitlines() if line.startswith("    speechkit ")]
    assert commands
    for command in commands:
        assert call(command) == 0, capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(shipped_folder("recipes").glob("*/run.sh")), ids=lambda path: path.parent.name)
def test_every_run_script_runs_its_own_recipe_where_it_was_called(path):
    assert path.read_text() == '#!/bin/sh\nexec speechkit run "$(dirname "$0")/recipe.py" "$@"\n'
    assert os.access(path, os.X_OK)


def test_new_refuses_what_is_there_and_what_is_no_name(project, capsys):
    assert call(["new", "demo"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert call(["new", "../evil"]) == 2
    assert "is not a recipe name" in capsys.readouterr().err


def test_status_and_explain_follow_the_run(project, capsys):
    call(["run", "demo", "--quiet"])
    capsys.readouterr()
    assert call(["status", "demo", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["stage"], row["name"], row["state"]) for row in rows] == [
        (1, "prepare", "fresh"),
        (2, "transform", "fresh"),
    ]
    assert call(["explain", "demo", "2", "transform.suffix=?"]) == 0
    assert 'config.suffix: "!" -> "?"' in capsys.readouterr().out
    assert call(["status", "demo", "transform.suffix=?"]) == 0
    assert "stale" in capsys.readouterr().out
    assert call(["explain", "demo", "9"]) == 2
    assert "it has 1 prepare, 2 transform" in capsys.readouterr().err


def test_stage_options_in_both_spellings(project, capsys):
    assert call(["run", "demo", "--stop_stage", "1"]) == 0
    assert not Path("exp/demo/02-transform").exists()
    assert call(["run", "demo", "--stage", "2", "--stop-stage", "2"]) == 0
    assert call(["run", "demo", "--only", "1", "--force"]) == 0
    assert call(["run", "demo", "--only", "1", "--stage", "1"]) == 2
    assert call(["run", "demo", "--shard", "x"]) == 2
    assert "write it as I/N" in capsys.readouterr().err


def test_dry_run_tells_and_does_nothing(project, capsys):
    assert call(["run", "demo", "--dry-run"]) == 0
    assert "1 prepare" in capsys.readouterr().out
    assert not Path("exp/demo/01-prepare").exists()


def test_config_files_and_keys_reach_the_stages(project, capsys):
    Path("small.yaml").write_text("prepare:\n  items: 3\n")
    assert call(["run", "demo", "--config", "small.yaml", "transform.suffix=."]) == 0
    rows = Path("exp/demo/02-transform/current/items.jsonl").read_text().splitlines()
    assert len(rows) == 3
    assert rows[0].endswith('la."}')
    capsys.readouterr()
    assert call(["run", "demo", "prepare.itmes=3", "transform.longest=x"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "did you mean 'prepare.items'?" in lines[0]
    assert "transform.longest: expected int" in lines[1]


def test_a_configuration_of_the_recipe_goes_by_name(project, capsys):
    Path("recipes/demo/conf/small.yaml").write_text("prepare:\n  items: 3\n")
    assert call(["run", "demo", "--config", "small"]) == 0
    assert len(Path("exp/demo/01-prepare/current/items.jsonl").read_text().splitlines()) == 3
    assert call(["run", "demo", "--config", "smal"]) == 2
    assert (
        "--config smal: no such file, and the recipe's own configurations are default, small" in capsys.readouterr().err
    )


def test_status_looks_with_the_settings_of_the_last_run(project, capsys):
    Path("small.yaml").write_text("prepare:\n  items: 3\n")
    assert call(["run", "demo", "--config", "small.yaml", "transform.suffix=?", "--quiet"]) == 0
    capsys.readouterr()
    assert call(["status", "demo", "--json"]) == 0
    shown = capsys.readouterr()
    assert [row["state"] for row in json.loads(shown.out)] == ["fresh", "fresh"]
    assert "using the settings of the last run" in shown.err
    assert call(["explain", "demo", "2"]) == 0
    assert "is fresh" in capsys.readouterr().out
    assert call(["status", "demo", "transform.suffix=!"]) == 0
    assert "stale" in capsys.readouterr().out


def test_settings_lists_what_can_be_set(project, capsys):
    assert call(["settings", "demo", "transform.suffix=?"]) == 0
    shown = capsys.readouterr().out
    assert "stage 2 transform" in shown
    assert "  transform.suffix = ?    [text; set by command line]" in shown
    assert "does not change results" in shown
    assert call(["settings", "demo", "--json"]) == 0
    assert {"prepare.items", "transform.longest"} <= {row["key"] for row in json.loads(capsys.readouterr().out)}


def test_a_run_ends_with_its_main_figure_its_results_and_the_next_command(project, capsys):
    path = Path("recipes/demo/recipe.py")
    text = path.read_text().replace("    context.write(", '    context.main_figure = "10 items"\n    context.write(')
    path.write_text(text.replace('    description="', '    next_command="cat {exp}/run.log",\n    description="'))
    for _ in range(2):  # also where everything is fresh
        assert call(["run", "demo", "--stop-stage", "1"]) == 0
        assert capsys.readouterr().err.splitlines()[-2:] == [
            "10 items",
            "results: exp/demo/01-prepare/current/items.jsonl",
        ]
    assert call(["run", "demo"]) == 0
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "results: exp/demo/02-transform/current/items.jsonl",
        "next: cat exp/demo/run.log",
    ]


def test_a_recipe_is_found_by_name_folder_and_file(project, capsys):
    for name in ("demo", "recipes/demo", "recipes/demo/recipe.py"):
        assert call(["status", name]) == 0
    assert call(["status", "dmeo"]) == 2
    assert "no recipe 'dmeo'; did you mean demo?" in capsys.readouterr().err
    assert call(["list", "--json"]) == 0
    assert "demo" in [row["name"] for row in json.loads(capsys.readouterr().out)]


def test_a_broken_recipe_is_named(project, capsys):
    Path("recipes/demo/recipe.py").write_text("import nothing_of_that_name\n")
    assert call(["status", "recipes/demo"]) == 2
    assert "cannot be imported: ModuleNotFoundError" in capsys.readouterr().err
    Path("recipes/demo/recipe.py").write_text("x = 1\n")
    assert call(["status", "recipes/demo"]) == 2
    assert "defines no `recipe" in capsys.readouterr().err
    assert call(["list"]) == 0
    shown = capsys.readouterr()
    assert "defines no `recipe" in shown.err
    assert "mining" in shown.out


def test_a_failed_stage_is_one_line_with_the_log(project, capsys):
    text = Path("recipes/demo/recipe.py").read_text()
    Path("recipes/demo/recipe.py").write_text(text.replace("answers: list[object] = []", "answers = [1 / 0]"))
    assert call(["run", "demo", "--quiet"]) == 1
    line = capsys.readouterr().err
    assert len(line.strip().splitlines()) == 1
    assert "ZeroDivisionError" in line
    assert "Traceback" in Path(line.rsplit("log: ", 1)[1].strip()).read_text()


def test_progress_is_plain_lines_when_not_a_terminal(project, capsys):
    call(["run", "demo"])
    shown = capsys.readouterr().err
    assert "stage 2 transform: 4 records" not in shown  # 6 of 10 are short enough
    assert "stage 2 transform: 6 records, 4 dropped" in shown or "records, 4 dropped" in shown
    assert "\x1b" not in shown


def test_settings_of_stages_that_do_not_fit_are_refused_before_the_first_one(project, capsys):
    path = Path("recipes/demo/recipe.py")
    path.write_text(
        path.read_text()
        .replace('    description="', '    check=check,\n    description="', 1)
        .replace(
            "recipe = Recipe(",
            "def check(configs):\n"
            "    if 'prepare' in configs and 'transform' in configs and configs['transform'].longest < 5:\n"
            "        yield f\"transform.longest is too short for {configs['prepare'].items} items\"\n\n\n"
            "recipe = Recipe(",
            1,
        )
    )
    assert call(["run", "demo", "transform.longest=4"]) == 2
    assert "transform.longest is too short for 10 items" in capsys.readouterr().err
    assert not Path("exp/demo/01-prepare").exists()
    assert call(["run", "demo", "transform.longest=4", "--stop-stage", "1"]) == 0


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("units", ["clusters=[20,50]", "bpe.bpe_clusters=[100]"], "bpe.bpe_clusters: 100 is none of clusters (20, 50)"),
        ("mossformer2", ["train.separator=bogus"], "train.separator: there is no separator configuration 'bogus'"),
        ("slue", [], "nothing to fit the noise on"),
        ("simplespeech2", ["codec.body=waves"], "codec.body: 'waves' is not one of convolutions, spectral"),
    ],
)
def test_shipped_recipes_refuse_settings_that_would_fail_after_hours(recipe, settings, message, tmp_path, capsys):
    assert call(["run", recipe, "--exp", str(tmp_path / "exp"), *settings]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "exp").exists()
