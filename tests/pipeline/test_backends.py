"""Equal bytes whoever does the work, and nothing lost when a worker dies."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from speechkit.errors import SpeechkitError, UserError
from speechkit.pipeline.backends import make_backend
from speechkit.pipeline.backends import ray_cluster as ray_cluster_module

RECIPE_FILE = Path(__file__).parent / "recipes" / "words" / "recipe.py"
RAY = [pytest.mark.slow, pytest.mark.xdist_group("ray")]


@pytest.mark.parametrize(
    "backends", [[("pool", 1), ("pool", 2), ("pool", 3)], pytest.param([("ray", 2), ("ray", 3)], marks=RAY)]
)
def test_every_backend_and_every_number_of_workers_gives_the_same_bytes(words, tree_digest, request, backends):
    if backends[0][0] == "ray":
        request.getfixturevalue("ray_cluster")
    words.run(exp="inline")
    expected = tree_digest(words.folder / "inline")
    for backend, workers in backends:
        assert words.run(exp=f"{backend}{workers}", backend=backend, workers=workers) == 0
        assert tree_digest(words.folder / f"{backend}{workers}") == expected, (backend, workers)


def test_every_number_of_shards_gives_the_same_bytes(words, tree_digest):
    words.run(exp="inline")
    expected = tree_digest(words.folder / "inline")
    for shards in (1, 2, 3):
        for stop in (1, 2, 4, 5):
            for shard in range(1, shards + 1):
                words.run(exp=f"shards{shards}", shard=(shard, shards), stop=stop)
        assert tree_digest(words.folder / f"shards{shards}") == expected, shards


def test_a_resume_with_another_backend_gives_the_same_bytes(words, tree_digest):
    words.run(exp="inline")
    fail = words.folder / "fail.txt"
    fail.write_text("en-0-7 en-0-20")
    with pytest.raises(SpeechkitError):
        words.run(f"case.fail_file={fail}", backend="pool", workers=2)
    assert words.run() == 0
    assert tree_digest(words.folder / "exp") == tree_digest(words.folder / "inline")


@pytest.mark.parametrize("stage", ["case", "noise"])
def test_a_pool_worker_that_is_killed_loses_nothing(words, tree_digest, stage):
    words.run(exp="inline")
    crash = words.folder / "crash.txt"
    crash.write_text("2")
    assert words.run(f"{stage}.crash_file={crash}", backend="pool", workers=2) == 0
    assert crash.read_text() == "0"
    assert tree_digest(words.folder / "exp") == tree_digest(words.folder / "inline")


def test_a_ray_worker_that_is_killed_loses_nothing(words, tree_digest, ray_cluster):
    """Stage case runs as ray tasks, stage noise on ray actors: one of each is killed in the middle."""
    words.run(exp="inline")
    crashes = {stage: words.folder / f"crash-{stage}.txt" for stage in ("case", "noise")}
    for crash in crashes.values():
        crash.write_text("1")
    settings = [f"{stage}.crash_file={crash}" for stage, crash in crashes.items()]
    assert words.run(*settings, backend="ray", workers=2) == 0
    assert [crash.read_text() for crash in crashes.values()] == ["0", "0"]
    assert tree_digest(words.folder / "exp") == tree_digest(words.folder / "inline")


class StubbornRay:
    """A ray that starts at the last try, prints on standard output as ray's native code does, and counts."""

    def __init__(self, fails: int) -> None:
        self.fails, self.starts, self.ends = fails, 0, 0

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: object) -> None:
        os.write(1, b"(raylet) a line of ray\n")
        self.starts += 1
        if self.starts <= self.fails:
            raise TimeoutError("the raylet came too late\nand more")

    def shutdown(self) -> None:
        self.ends += 1


def run_on(ray: StubbornRay, monkeypatch) -> None:
    monkeypatch.setattr(ray_cluster_module, "require", lambda name: ray)
    monkeypatch.setattr(ray_cluster_module.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(ray_cluster_module.RayBackend, "_hand_out", lambda *_: os.write(1, b"of a stage\n"))
    with contextlib.closing(make_backend("ray", 2, 3)) as backend:
        for _ in range(3):
            backend.run(None, iter(()), print, lambda: False)


def test_one_cluster_serves_the_whole_run_and_standard_output_stays_clean(monkeypatch, capfd):
    ray = StubbornRay(fails=ray_cluster_module.STARTS - 1)
    run_on(ray, monkeypatch)
    assert ray.starts == ray_cluster_module.STARTS
    assert ray.ends == ray.fails + 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("a line of ray") == ray.starts
    assert captured.err.count("of a stage") == 3
    os.write(1, b"ours")
    assert capfd.readouterr().out == "ours"


def test_a_cluster_that_never_starts_is_one_sentence(monkeypatch):
    with pytest.raises(SpeechkitError, match=r"4 attempts \(TimeoutError: the raylet came too late\); .*--backend"):
        run_on(StubbornRay(fails=99), monkeypatch)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_ray_keeps_standard_output_for_json(words, tree_digest):
    pytest.importorskip("ray")
    words.run(exp="inline")
    code = (
        "import sys; from pathlib import Path; from speechkit.pipeline import run_recipe;"
        "from speechkit.pipeline.discover import load_recipe;"
        "code = run_recipe(load_recipe(Path(sys.argv[1])), sys.argv[2], ['prepare.words=' + sys.argv[3]],"
        " backend='ray', workers=2, quiet=True); print({'code': code})"
    )
    arguments = [str(RECIPE_FILE), str(words.folder / "exp"), str(words.words)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout == "{'code': 0}\n", done.stderr
    assert tree_digest(words.folder / "exp") == tree_digest(words.folder / "inline")


def test_a_part_that_always_kills_its_worker_ends_the_run_with_its_name(words):
    crash = words.folder / "crash.txt"
    crash.write_text("99")
    message = r"stage 2 case: part \d of 5 crashed its worker 3 times \(SIGKILL.*last output: the worker says goodbye"
    with pytest.raises(SpeechkitError, match=message) as caught:
        words.run(f"case.crash_file={crash}", backend="pool", workers=1)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("backend", ["inline", "pool", pytest.param("ray", marks=RAY)])
def test_the_users_fault_stays_the_users_fault_in_every_backend(words, request, backend, monkeypatch):
    if backend == "ray":
        request.getfixturevalue("ray_cluster")
    words.run(stop=1)
    rows = next((words.folder / "exp" / "01-prepare").glob("*/rows.jsonl"))
    lines = rows.read_text().splitlines()
    lines[6] = lines[6].replace('"id"', '"ix"')
    monkeypatch.setattr("speechkit.pipeline.state.damage", lambda *_: [])  # so that a worker is the one to find it
    rows.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"rows.jsonl:7: Object missing required field `id`"):
        words.run(backend=backend, workers=2)


def test_a_class_that_other_processes_cannot_find_is_named(words):
    from dataclasses import replace

    class Hidden:
        def __init__(self, config: object) -> None: ...

        def process(self, batch: list[object]) -> list[object]:
            return batch

    first, second, *rest = words.recipe.stages
    words.recipe = replace(words.recipe, stages=(first, replace(second, run=Hidden), *rest))
    with pytest.raises(UserError, match=r"move.*top level.*module.*use --backend inline"):
        words.run(backend="pool")


def test_shards_may_run_at_once_and_one_of_them_commits(words, tree_digest):
    words.run(exp="inline")
    words.run(stop=1)
    code = (
        "import sys; from pathlib import Path; from speechkit.pipeline import run_recipe;"
        "from speechkit.pipeline.discover import load_recipe;"
        "f = Path(sys.argv[1]); n = int(sys.argv[4]);"
        "run_recipe(load_recipe(f), sys.argv[2], ['prepare.words=' + sys.argv[3]], start=2, stop=2,"
        " shard=(n, 3))"
    )
    shards = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(RECIPE_FILE), str(words.folder / "exp"), str(words.words), str(number)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in (1, 2, 3)
    ]
    for shard in shards:
        _, errors = shard.communicate(timeout=60)
        assert shard.returncode == 0, errors
    words.run()
    assert tree_digest(words.folder / "exp") == tree_digest(words.folder / "inline")


def test_bad_shards_and_backends_are_refused(words):
    with pytest.raises(UserError, match="from 1 to the second"):
        words.run(shard=(0, 2))
    with pytest.raises(UserError, match="choose inline, pool, ray"):
        words.run(backend="dask")
    with pytest.raises(UserError, match="give 1 or more"):
        words.run(backend="pool", workers=0)
    with pytest.raises(UserError, match="exclude each other"):
        words.run(shard=(1, 2), force=True)
