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
"""Numbers of positions after which the size of a row's state is reported."""


class ComparisonConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Systems and tasks of the comparison, and settings of training and evaluation.

    Attributes:
        systems: of `comparison.SYSTEMS`.
        tasks: ``languages``, ``recall`` and ``long_recall`` need no data, ``units`` and ``waveforms`` do.
        train_units: units of recordings, as written by the recipe unit_lm: training data of ``units``, and the gaps of
            ``long_recall``.
        test_units: units of other speakers, for ``units``.
        clips: manifest of clips of about a second whose texts are the classes, for ``waveforms``.
        waveform_systems: of `waveform_classes.SYSTEMS`.
        width: D.
        parameters: approximate number for every model.
        rows: rows per batch.
        judged: number of test instances.
        strings: minimum and maximum number of strings of an instance.
        longest: maximum number of symbols of a string.
        pairs: number of pairs in ``recall``.
        keys: number of keys from which they are drawn.
        span: units to be recalled in ``long_recall``.
        gap: units between the two occurrences of the span.
        context: units of a row of ``units``.
        waveform_rows: clips per batch.
        test_share: share of the speakers of clips that are test speakers; at least one.
        waveform_training: for ``waveforms``; the first learning rate is for steps, poles and matrices of state spaces.
        training: for the other tasks.
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
                "a size is out of range; set span and context to 2 or more, gap and waveform_rows to 1 or more, and "
                "test_share between 0 and 1"
            )
        if len(self.waveform_training.learning_rates) != 2:
            raise ConfigError(
                "waveform_training.learning_rates must be two values; give that of steps, poles and matrices first"
            )
        for task, names in {"units": ("train_units", "test_units"), "waveforms": ("clips",)}.items():
            missing = [name for name in names if task in self.tasks and getattr(self, name) is None]
            if missing:
                raise ConfigError(f"the task {task} needs compare.{missing[0]}; set it, or leave the task out")
        if not 0 < self.pairs <= self.keys:
            raise ConfigError(f"pairs is {self.pairs} and keys {self.keys}; give 1 or more pairs and as many keys")
        if not 0 < self.strings[0] <= self.strings[1] or self.longest < 1 or self.judged < 1 or self.rows < 1:
            raise ConfigError(
                "a number is out of range; set strings (minimum, maximum), longest, judged and rows to 1 or more"
            )


class Cell(msgspec.Struct, frozen=True):
    """Results of one system on one task.

    Attributes:
        task: name of the task.
        system: name of the system, trained or not.
        accuracy: share of positions whose likeliest token is correct, or of clips whose likeliest class is.
        accuracy_interval: over instances.
        distance: mean total variation from the true probabilities, for languages.
        distance_interval: over instances.
        half_rate: accuracy on every second sample without training on it, for waveforms.
        half_rate_interval: over clips.
        bits_per_second: for units.
        bits_interval: over recordings.
        parameters: number of weights.
        step_seconds: CPU seconds per training step.
        steps: training steps.
        state_kilobytes: of a row after `STATE_POSITIONS` positions.
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
