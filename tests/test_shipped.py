"""Recipes of several modules are found by their path alone, in this process and in others; and what the wheel holds."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from speechkit.errors import UserError
from speechkit.pipeline import run_recipe
from speechkit.pipeline.discover import find_recipe, load_recipe, recipe_module, shipped_recipe
from speechkit.shipped import find_type, load_module, type_name

ROOT = Path(__file__).resolve().parent.parent
RECIPE = """
from speechkit.pipeline import Output, Recipe, Stage, stage

from .stages import Row, Shout, prepare

recipe = Recipe(
    "greeting",
    (
        Stage(number=1, name="prepare", run=prepare, outputs=(Output("rows.jsonl", Row),)),
        Stage(
            number=2,
            name="shout",
            run=Shout,
            inputs=(stage("prepare", "rows.jsonl"),),
            outputs=(Output("rows.jsonl", Row),),
            part_records=1,
        ),
    ),
)
"""
STAGES = """
import msgspec

from speechkit.pipeline import Worker


class Row(msgspec.Struct, frozen=True):
    id: str


def prepare(context):
    context.write("rows.jsonl", (Row(name) for name in ("good", "morning")))


class Shout(Worker):
    def process(self, batch):
        return [Row(row.id + "ENDING") for row in batch]
"""


def write_recipe(folder: Path, ending: str = "!") -> Path:
    folder.mkdir(parents=True)
    (folder / "recipe.py").write_text(RECIPE)
    (folder / "stages.py").write_text(STAGES.replace("ENDING", ending))
    return folder / "recipe.py"


@pytest.mark.parametrize("backend", ["inline", "pool"])
@pytest.mark.parametrize("folder", ["recipes/greeting", "my.work/some-thing"])
def test_a_recipe_of_two_modules_runs_from_any_folder(tmp_path, backend, folder):
    recipe = load_recipe(write_recipe(tmp_path / folder))
    assert run_recipe(recipe, tmp_path / "exp", backend=backend, workers=2, quiet=True) == 0
    assert (tmp_path / "exp/02-shout/current/rows.jsonl").read_text() == '{"id":"good!"}\n{"id":"morning!"}\n'


def test_modules_of_one_name_in_two_recipes_are_two_modules(tmp_path):
    first = load_recipe(write_recipe(tmp_path / "a" / "greeting", "!"))
    second = load_recipe(write_recipe(tmp_path / "b" / "greeting", "?"))
    assert first.stages[1].run is not second.stages[1].run
    assert load_recipe(tmp_path / "a" / "greeting" / "recipe.py") is first


def test_a_recipe_may_use_the_recipes_beside_it_and_the_project_around_them(tmp_path):
    write_recipe(tmp_path / "recipes" / "greeting")
    (tmp_path / "surroundings_of_recipes.py").write_text("ANSWER = 42\n")
    (tmp_path / "recipes" / "other").mkdir()
    code = "from surroundings_of_recipes import ANSWER\n\nfrom ..greeting.recipe import recipe\n"
    (tmp_path / "recipes" / "other" / "recipe.py").write_text(code)
    other = tmp_path / "recipes" / "other" / "recipe.py"
    assert load_recipe(other) is load_recipe(tmp_path / "recipes" / "greeting" / "recipe.py")


def test_a_class_of_a_recipe_is_found_by_its_name_where_the_recipe_is_not_loaded(tmp_path):
    shout = load_module(write_recipe(tmp_path / "greeting").parent, "stages").Shout
    code = f"from speechkit.shipped import find_type; print(find_type({type_name(shout)!r}).__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == shout.__module__
    assert find_type(type_name(shout)) is shout


def test_a_class_made_inside_a_function_has_no_name_for_other_processes():
    class Local:
        pass

    with pytest.raises(UserError, match=r"inside a function.*--backend inline"):
        type_name(Local)


def test_a_mining_recipe_of_the_working_folder_does_not_replace_that_of_mine(tmp_path, monkeypatch):
    for name in ("mining", "ssl_probing"):
        write_recipe(tmp_path / "recipes" / name)
    monkeypatch.chdir(tmp_path)
    assert find_recipe("mining").resolve() == tmp_path / "recipes" / "mining" / "recipe.py"
    assert load_recipe(shipped_recipe("mining")) is recipe_module("mining").recipe
    code = (
        "from speechkit.mining import mine; from speechkit.errors import UserError\n"
        "try: mine('nothing', 'nothing', 'out')\nexcept UserError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "nothing" in done.stdout, "the greeting recipe has no setting named audio"


@pytest.mark.parametrize("name", ["recipe.txt", "no.thing.py"])
def test_what_is_no_python_module_is_no_recipe(tmp_path, name):
    (tmp_path / name).write_text("")
    with pytest.raises(UserError, match="no such recipe"):
        load_recipe(tmp_path / name)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(folder),
        str(ROOT),
    ]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_speechkit_alone_and_is_small(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops - {name for name in tops if name.endswith(".dist-info")} == {"speechkit"}
    assert {"speechkit/py.typed", "speechkit/_recipes/mining/recipe.py", "speechkit/_data_prep/driver.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]
    assert wheel.stat().st_size < 100e6


@pytest.mark.slow
def test_an_installed_copy_lists_its_recipes_and_mines_its_sample(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    write_recipe(tmp_path / "recipes" / "mining")

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", "from speechkit.cli.main import main; main()", *arguments]
        installed = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=installed, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert f"{tmp_path}/site/speechkit/_recipes/units/recipe.py" in run("list", "--json")
    sample = "site/speechkit/_recipes/mining/sample"
    run("mine", f"{sample}/audio/bees.ogg", f"{sample}/documents/bees.html", "--out", "out")
    assert (tmp_path / "out" / "manifest.jsonl").stat().st_size
    assert "librispeech" in run("prepare", "list")
