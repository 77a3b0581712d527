"""What `scripts/calibrate_mining.py` fits and judges: no reader is judged by coefficients that were fitted on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulated_chapters import Spoken
from scripts import recognized_readings as kept_readings
from scripts.calibrate_mining import Evidence, judged
from scripts.calibration_recordings import JUDGES, Reading, readings
from speechkit.asr.hypothesis import Hypothesis
from speechkit.metrics.logistic import fit_logistic
from tests.mining.test_correction import heard

GROUPS = ["clean 251", "noisy 1272", "trained 652", *(f"clean {reader}" for reader in JUDGES)]


def evidence(seed: int) -> Evidence:
    numbers = np.random.default_rng(seed)
    groups = np.array(GROUPS * 80)
    rows = numbers.normal(size=(len(groups), 2))
    right = rows[:, 0] + numbers.normal(size=len(groups)) > -0.5
    return Evidence(rows, right, groups, np.array(["clean", "OCR"])[numbers.integers(0, 2, len(groups))])


def test_judges_do_not_enter_the_fit_and_every_reader_is_a_fold() -> None:
    given, near = evidence(0), evidence(1)
    model, lines = judged(given, near, ["a", "b"])
    judges = np.char.endswith(given.groups, JUDGES[0]) | np.char.endswith(given.groups, JUDGES[1])
    assert model == fit_logistic(given.rows[~judges], given.right[~judges], ["a", "b"])
    spoiled = Evidence(given.rows, np.where(judges, ~given.right, given.right), given.groups, given.kinds)
    again, other = judged(spoiled, near, ["a", "b"])
    assert again == model
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]
    folds = ["fold 1272", "fold 251", "fold 652 (trained on, at another speed)"]
    assert names[:3] == folds
    assert "84 and 2428, OCR documents" in names
    for name, line, changed in zip(names, lines[2:], other[2:], strict=True):
        assert (line == changed) == ("84" not in name or "near" in name), name


def test_readers_that_were_left_out_of_the_training_take_the_place_of_those_at_another_speed(shared_data: Path) -> None:
    known = {(reading.reader, reading.condition) for reading in readings(shared_data, None)}
    assert {reader for reader, condition in known if condition != "trained"} == set(JUDGES)
    assert {reader for reader, condition in known if condition == "trained"}
    new = {(reading.reader, reading.condition) for reading in readings(shared_data, None, ["251", "1272"])}
    assert {reader for reader, _ in new} == {*JUDGES, "251", "1272"}
    assert {condition for _, condition in new} == {"clean", "noisy"}


def test_kept_recognition_is_read_again_unless_the_recogniser_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    class Recognizer:
        def recognize(self, path: str, speech: object) -> Hypothesis:
            made.append(path)
            return Hypothesis("the hen", np.arange(7.0), np.arange(7.0) + 1, np.zeros(7, np.float32), heard("the hen"))

    monkeypatch.setattr(kept_readings, "load_recognizer", lambda name: Recognizer())
    monkeypatch.setattr(kept_readings, "recognizer_digest", lambda name: name)
    spoken = [Spoken("a", "The hen.", 0.1, 0.9)]
    given = [Reading("251-1", "251", "clean", lambda: (np.zeros(16000, np.float32), spoken))]
    first, again, other = (
        kept_readings.recognized_readings(iter(given), name, tmp_path)[0] for name in ("one", "one", "two")
    )
    assert len(made) == 2
    assert again.spoken == other.spoken == spoken
    assert again.hypothesis.text == "the hen"
    assert np.array_equal(again.levels, first.levels)
    assert np.array_equal(again.hypothesis.emissions.log_probs, first.hypothesis.emissions.log_probs)
