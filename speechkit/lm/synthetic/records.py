"""Settings and results of the comparison of sequence layers; loads no torch."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from speechkit.errors import ConfigError
from speechkit.metrics.bootstrap import Interval
from speechkit.training.config import TrainingConfig

Task = Literal["languages", "recall", "long_recall", "units", "waveforms"]
WITHOUT_DATA: tuple[Task, ...] = ("languages", "recall", "long_recall")
WaveformSystem = Literal["cnn", "gru", "attention", "s4d", "lssl"]
System = Literal[
    "attention",
    "attention, n-gram heads",
    "window",
    "lstm",
    "lstm, n-gram heads",
    "gru",
    "s4d",
    "aaren",
    "jrt",
    "based",
    "titans",
]

STATE_POSITIONS = (1_000, 100_000)
"""After so many positions the memory of a row is told."""


class ComparisonConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which cells, and how each is trained and judged.

    Attributes:
        systems: of `comparison.SYSTEMS`.
        tasks: ``languages``, ``recall`` and ``long_recall`` need no data, ``units`` and ``waveforms`` do.
        train_units: units of recordings, as the recipe unit_lm writes them: what ``units`` learns, and what stands
            between in ``long_recall``.
        test_units: of other speakers, for ``units``.
        clips: manifest of a second of speech each, whose texts are the classes, for ``waveforms``.
        waveform_systems: of `waveform_classes.SYSTEMS`.
        width: D.
        parameters: of every model, as near as its feed-forwards allow.
        rows: of a batch.
        judged: instances of the test.
        strings: fewest and most strings of a language.
        longest: most symbols of a string.
        pairs: of recall.
        keys: that they are drawn from.
        span: units of what is recalled in ``long_recall``.
        gap: units between it and its return.
        context: units of a row of ``units``.
        waveform_rows: clips of a batch.
        test_share: of the speakers of clips, who judge; one at least.
        waveform_training: of each cell of ``waveforms``; the first learning rate is that of steps, poles and matrices.
        training: of each cell.
    """

    systems: tuple[System, ...] = get_args(System)
    tasks: tuple[Task, ...] = WITHOUT_DATA
    train_units: str | None = None
    test_units: str | None = None
    clips: str | None = None
    waveform_systems: tuple[WaveformSystem, ...] = get_args(WaveformSystem)
    width: int = 64
    parameters: int = 150_000
    rows: int = 16
    judged: int = 200
    strings: tuple[int, int] = (10, 19)
    longest: int = 15
    pairs: int = 8
    keys: int = 16
    span: int = 6
    gap: int = 400
    context: int = 256
    waveform_rows: int = 8
    test_share: float = 0.2
    training: TrainingConfig = TrainingConfig(steps=2000, learning_rates=(2e-3,), evaluate_every=10**6)
    waveform_training: TrainingConfig = TrainingConfig(
        steps=600, learning_rates=(1e-3, 4e-3), weight_decay=0.0, average_decay=0.98, evaluate_every=10**6
    )

    def __post_init__(self) -> None:
        if self.span < 2 or self.gap < 1 or self.context < 2 or self.waveform_rows < 1 or not 0 < self.test_share < 1:
            raise ConfigError(
                "span and context are 2 or more, gap and waveform_rows 1 or more, and test_share lies between 0 and 1"
            )
        if len(self.waveform_training.learning_rates) != 2:
            raise ConfigError("waveform_training.learning_rates: give two, that of steps, poles and matrices first")
        for task, names in {"units": ("train_units", "test_units"), "waveforms": ("clips",)}.items():
            missing = [name for name in names if task in self.tasks and getattr(self, name) is None]
            if missing:
                raise ConfigError(f"the task {task} needs compare.{missing[0]}; set it, or leave the task out")
        if not 0 < self.pairs <= self.keys:
            raise ConfigError(f"{self.pairs} pairs of {self.keys} keys; give 1 or more, and as many keys as pairs")
        if not 0 < self.strings[0] <= self.strings[1] or self.longest < 1 or self.judged < 1 or self.rows < 1:
            raise ConfigError(
                "strings, longest, judged and rows are 1 or more; give the fewest strings before the most"
            )


class Cell(msgspec.Struct, frozen=True):
    """One system on one task.

    Attributes:
        task: which.
        system: its name; also what needs no training.
        accuracy: share of positions whose likeliest token is a right one, of clips whose likeliest class is.
        accuracy_interval: over instances.
        distance: mean total variation from the true chances, of languages.
        distance_interval: over instances.
        half_rate: accuracy on every second sample, without training on it, of waveforms.
        half_rate_interval: over clips.
        bits_per_second: of units.
        bits_interval: over recordings.
        parameters: weights.
        step_seconds: of the processor a training step.
        steps: of training.
        state_kilobytes: of a row behind `STATE_POSITIONS`.
    """

    task: Task
    system: str
    accuracy: float | None = None
    accuracy_interval: Interval | None = None
    distance: float | None = None
    distance_interval: Interval | None = None
    half_rate: float | None = None
    half_rate_interval: Interval | None = None
    bits_per_second: float | None = None
    bits_interval: Interval | None = None
    parameters: int = 0
    step_seconds: float | None = None
    steps: int = 0
    state_kilobytes: tuple[float, float] | None = None
