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
