"""Claims about processes that compute together: one speaks, all stop on request, none outlives a failure."""

from __future__ import annotations

import os
import time

import pytest

from speechkit.errors import ConfigError, SpeechkitError, UserError
from speechkit.pipeline.interrupt import Interrupted
from speechkit.pipeline.processes import is_first, process_count, run_together


class Told:
    """What a stage sees, as far as these functions look."""

    device = "cpu"

    def __init__(self, folder):
        self.folder, self.lines, self.progress, self._stop = folder, [], self, False

    @property
    def interrupted(self):
        return bool(self._stop)

    def say(self, line):
        self.progress.say(line) if self.progress is not self else self.lines.append(line)

    def log(self, line):
        self.lines.append(line)

    def update(self, done, total=None):
        self._stop = done  # the request comes once there is progress


def speak(context):
    (context.folder / os.environ["RANK"]).write_text(os.environ["WORLD_SIZE"])
    context.say(f"heard of {os.environ['RANK']}, {is_first()}")


def go_on(context):
    context.progress.update(1, 2)
    while not context.interrupted:
        time.sleep(0.05)
    (context.folder / os.environ["RANK"]).write_text("stopped")
    raise Interrupted


def fail(context):
    if is_first():
        time.sleep(60)
    raise {"config": ConfigError("mend it"), "bug": KeyError("x")}[context.folder.name]


def die(context):
    if not is_first():
        os._exit(3)
    time.sleep(60)


def test_all_work_and_the_first_alone_is_heard(tmp_path):
    told = Told(tmp_path)
    run_together(speak, told, 3)
    assert told.lines == ["heard of 0, True"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"3"}


def test_one_is_this_process(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "3")  # of a cluster's own
    here = []
    run_together(lambda context: here.append(context), told := Told(tmp_path), 1)
    assert here == [told]
    assert is_first()


def test_a_request_to_stop_reaches_all(tmp_path):
    with pytest.raises(Interrupted):
        run_together(go_on, Told(tmp_path), 2)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"0": "stopped", "1": "stopped"}


@pytest.mark.parametrize(("name", "kind", "said"), [("config", UserError, "mend it"), ("bug", SpeechkitError, "'x'")])
def test_a_failure_ends_the_others_and_is_told(tmp_path, name, kind, said):
    (tmp_path / name).mkdir()
    told = Told(tmp_path / name)
    began = time.monotonic()
    with pytest.raises(kind, match=said) as caught:
        run_together(fail, told, 2)
    assert caught.value.exit_code == kind.exit_code
    assert "Traceback" in told.lines[0]
    assert time.monotonic() - began < 50


def test_a_death_without_a_word_is_told(tmp_path):
    with pytest.raises(UserError, match=r"ended without a message \(exit 3\), perhaps out of memory"):
        run_together(die, Told(tmp_path), 2)


def test_as_many_as_are_asked_for_or_one_for_each_gpu(monkeypatch):
    monkeypatch.setattr("speechkit.pipeline.processes.gpu_count", lambda: 4)
    assert process_count(3, "cpu") == 3
    assert process_count(0, "cpu") == 1
    assert process_count(0, "cuda:0") == 4
