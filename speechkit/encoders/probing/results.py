"""Probing results: one score per task with its interval."""

from __future__ import annotations

from typing import Any

import msgspec

from speechkit.encoders.spec import EncoderSpec
from speechkit.metrics.bootstrap import Interval


class Score(msgspec.Struct, frozen=True):
    """One row of the table.

    Attributes:
        task: such as "characters" or "words ABX across speakers".
        metric: what ``value`` is: an error rate, a share of right answers, an average precision; 0 to 1.
        value: over the test items.
        interval: bootstrap interval over ``unit``.
        unit: of resampling: utterance, speaker, word, token.
        higher_is_better: else lower.
        items: test items.
        chance: chance level, if known.
        layer_weights: learned weight of each layer, or 1 at the layer that was chosen on other speakers.
        details: counts and settings, for the record.
    """

    task: str
    metric: str
    value: float
    interval: Interval
    unit: str
    higher_is_better: bool
    items: int
    chance: float | None = None
    layer_weights: list[float] = []
    details: dict[str, Any] = {}


class ProbeReport(msgspec.Struct, frozen=True):
    """All scores of one encoder.

    Attributes:
        encoder: its name.
        spec: of its last layer.
        scores: one per task.
        seed: of splits and heads.
        seconds: time of the probes, without features.
        left_out: tasks that could not be measured, with the reason.
    """

    encoder: str
    spec: EncoderSpec
    scores: list[Score]
    seed: int
    seconds: float
    left_out: dict[str, str] = {}
