"""Kills, interruptions, full disks, read-only folders and two runs at once: one clear end, nothing lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from speechkit.errors import UserError
from speechkit.pipeline.lock import run_lock

RECIPE_FILE = Path(__file__).parent / "recipes" / "words" / "recipe.py"
RUN = (
    "import sys; from pathlib import Path; from speechkit.cli.main import main;"
    "main(['run', sys.argv[1], '--exp', sys.argv[2], *sys.argv[3:]])"
)


def begin(words, *options: str, exp: str = "exp") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, str(RECIPE_FILE), str(words.folder / exp), f"prepare.words={words.words}"]
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def wait_for(condition, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.005)


@pytest.mark.parametrize("wanted", [3, pytest.param(12, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_in_the_same_bytes(words, tree_digest, wanted):
    """Every kill is followed by a resume. A run that ends before its kill makes way for one with the next seed."""
    began = time.monotonic()
    assert finish(begin(words, "seed=100"))[0] == 0
    length = time.monotonic() - began
    generator = random.Random(wanted)
    kills, seed = 0, 1
    while kills < wanted:
        process = begin(words, f"seed={seed}")
        time.sleep(generator.uniform(0.4, 1.0) * length)
        if process.poll() is None:
            process.kill()
            kills += 1
        else:
            seed += 1
            length *= 0.8  # the machine was busier before: aim into the run again
        finish(process)
    for number in [*range(1, seed + 1), 100]:
        words.run(f"seed={number}")
        words.run(f"seed={number}", exp="clean")
    assert tree_digest(words.folder / "exp") == tree_digest(words.folder / "clean")


SLOW = """
import time
from pathlib import Path
import msgspec
from speechkit.pipeline import Context, Output, Recipe, Stage, Worker, stage
class Row(msgspec.Struct, frozen=True):
    id: str
def make(context: Context) -> None:
    context.write("rows.jsonl", (Row(f"r{n}") for n in range(20)))
class Slow(Worker):
    def process(self, batch):
        time.sleep(0.4)
        return batch
recipe = Recipe("slow", (
    Stage(1, "make", make, (), (Output("rows.jsonl", Row),)),
    Stage(2, "slow", Slow, (stage("make", "rows.jsonl"),), (Output("rows.jsonl", Row),), part_records=1),
))
"""


@pytest.fixture
def slow(tmp_path):
    """Starts a slow recipe; returns (process, function that counts finished parts)."""
    file = tmp_path / "slow" / "recipe.py"
    file.parent.mkdir()
    exp = tmp_path / "exp"

    def start(*options: str, seconds: float = 0.4):
        file.write_text(SLOW.replace("0.4", str(seconds)))
        command = [sys.executable, "-c", RUN, str(file), str(exp), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return process, lambda: len(list(exp.glob("02-slow/*.work/part-*-of-00020.jsonl")))

    return start


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_ctrl_c_finishes_the_part_in_hand_and_ends_with_130(slow, options):
    process, parts = slow(*options)
    wait_for(lambda: parts() >= 2)
    process.send_signal(signal.SIGINT)
    code, errors = finish(process)
    assert code == 130
    assert "stopping after the current part" in errors
    assert "of 20 parts are done; the next run resumes there" in errors
    assert 2 <= parts() < 20
    assert "Traceback" not in errors


def test_a_second_ctrl_c_stops_at_once(slow):
    process, parts = slow(seconds=8)
    wait_for(lambda: parts() >= 1)
    time.sleep(1)  # into the next part: between two, the first signal is enough to end the run
    process.send_signal(signal.SIGINT)
    while (
        "press again to stop at once" not in process.stderr.readline()
    ):  # two signals that wait together arrive as one
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    code, errors = finish(process)
    assert code == 130, errors
    assert "stopped at once" in errors


def test_two_runs_on_one_folder_end_in_one_clear_line_and_the_first_is_unharmed(slow):
    first, parts = slow()
    wait_for(lambda: parts() >= 1)
    second, _ = slow()
    code, errors = finish(second)
    assert code == 2
    assert f"already in use by process {first.pid}" in errors
    assert len(errors.strip().splitlines()) == 1
    assert first.poll() is None
    first.send_signal(signal.SIGINT)
    assert finish(first)[0] == 130


def test_the_lock_of_a_killed_run_is_taken_over(slow):
    first, parts = slow()
    wait_for(lambda: parts() >= 1)
    first.kill()
    finish(first)
    second, _ = slow("--only", "1")
    assert finish(second)[0] == 0


def test_a_run_on_another_machine_is_believed(tmp_path):
    (tmp_path / "run.lock").write_text('{"host":"elsewhere","pid":1,"since":"yesterday"}')
    message = r"a run of elsewhere \(process 1\) holds this folder .* remove .*run.lock"
    with pytest.raises(UserError, match=message), run_lock(tmp_path):
        pass


def test_shards_share_the_folder_with_one_another_and_not_with_a_whole_run(tmp_path):
    with run_lock(tmp_path, (1, 2)), run_lock(tmp_path, (2, 2)):
        with pytest.raises(UserError, match="already in use"), run_lock(tmp_path):
            pass
        with pytest.raises(UserError, match="already in use"), run_lock(tmp_path, (1, 2)):
            pass
    with run_lock(tmp_path), pytest.raises(UserError, match="already in use"), run_lock(tmp_path, (1, 2)):
        pass


@pytest.mark.parametrize("backend", ["inline", "pool"])
def test_a_full_disk_is_one_line_and_the_next_run_goes_on(words, tree_digest, backend):
    """RLIMIT_FSIZE stands in for the disk: a write fails in the middle of a file."""
    words.run("prepare.repeat=20", exp="whole")
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192));" + RUN
    )
    options = [f"prepare.words={words.words}", "prepare.repeat=20", "--backend", backend]
    command = [sys.executable, "-c", limited, str(RECIPE_FILE), str(words.folder / "exp"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((words.folder / "exp").rglob("[!_]*/_stage.json"))
    assert words.run("prepare.repeat=20") == 0
    assert tree_digest(words.folder / "exp") == tree_digest(words.folder / "whole")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_small_disk_that_fills_up_is_one_line_and_the_next_run_goes_on(words, tree_digest):
    words.run("prepare.repeat=40", exp="whole")
    disk = words.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        code, errors = finish(begin(words, "prepare.repeat=40", exp="disk/exp"))
        assert code == 2
        assert "the disk is full; free some space and run again" in errors
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        assert words.run("prepare.repeat=40", exp="disk/exp") == 0
        assert tree_digest(disk / "exp") == tree_digest(words.folder / "whole")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        code, errors = finish(begin(words, "prepare.repeat=40", "case.case=lower", exp="disk/exp"))
        assert code == 2
        assert "read-only" in errors
        assert len(errors.strip().splitlines()) == 1
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_output_folder_that_is_a_file_is_one_line(words):
    (words.folder / "exp").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        words.run()


def test_a_lock_that_is_a_link_empties_nothing(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "run.lock").symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(UserError, match="is a symbolic link"), run_lock(tmp_path / "exp"):
        pass
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_interruption_while_the_command_still_loads_is_no_traceback():
    program = (
        "import sys, importlib.abc\n"
        "class Interrupt(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from speechkit.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "speechkit: interrupted\n")
