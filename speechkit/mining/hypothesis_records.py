"""Hypotheses as records with arrays, as stage 3 writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from speechkit.asr.hypothesis import Emissions, Hypothesis
from speechkit.mining.records import RecognizedText
from speechkit.pipeline import Value
from speechkit.pipeline.arrays import read_record_arrays


def recognized_value(recording: str, hypothesis: Hypothesis, recognizer: str) -> Value:
    """A hypothesis as a record with its arrays."""
    arrays: dict[str, np.ndarray] = {"starts": hypothesis.starts, "ends": hypothesis.ends, "scores": hypothesis.scores}
    emissions = hypothesis.emissions
    if emissions is None:
        return Value(RecognizedText(recording, hypothesis.text, recognizer), arrays)
    arrays["log_probs"] = emissions.log_probs
    record = RecognizedText(
        recording,
        hypothesis.text,
        recognizer,
        hop_seconds=emissions.hop_seconds,
        vocabulary=list(emissions.vocabulary),
        blank=emissions.blank,
    )
    return Value(record, arrays)


def read_hypothesis(path: Path, record: RecognizedText) -> Hypothesis:
    """The hypothesis behind a record of stage 3, with its emissions if there are any."""
    if record.features is None or not record.text:
        return Hypothesis("", np.zeros(0), np.zeros(0), np.zeros(0, np.float32))
    arrays = read_record_arrays(path, record.features)
    emissions = None
    if "log_probs" in arrays and record.vocabulary is not None and record.hop_seconds is not None:
        emissions = Emissions(arrays["log_probs"], record.hop_seconds, tuple(record.vocabulary), record.blank or 0)
    return Hypothesis(record.text, arrays["starts"], arrays["ends"], arrays["scores"], emissions)
