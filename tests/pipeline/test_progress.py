"""Claims about what a run shows."""

import io

from speechkit.pipeline import progress
from speechkit.pipeline.progress import Progress


def test_another_pass_over_the_items_has_its_own_rate(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = Progress(stream=io.StringIO())
    shown.begin_stage("stage 2 targets", 0)
    now[0] = 500.0
    shown.update(1000, 1000)
    assert shown.facts() == "2.0 items/s"
    shown.update(1, 1000)
    now[0] = 510.0
    shown.update(101, 1000)
    assert shown.facts() == "10.0 items/s, 0:01:29 left"


def test_seconds_of_audio_are_counted_where_they_are_known(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = Progress(quiet=True)
    shown.begin_stage("stage 3 hypotheses", 2, 1, audio=(7200.0, 3600.0))
    now[0] += 60
    shown.advance(0, 0, 900.0)  # a quarter of the second recording, which is still being heard
    assert shown.facts() == "0.0 items/s, 1:15:00 of 2:00:00 of audio at 15.0 times real time, 0:03:00 left"
