"""Settings and results of the comparison of sequence layers; loads no torch."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from speechkit.errors import ConfigError
from speechkit.metrics.bootstrap import Interval
from speechkit.training.config import TrainingConfig

Task = Literal["languages", "recall"]
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


class ComparisonConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which cells, and how each is trained and judged.

    Attributes:
        systems: of `comparison.SYSTEMS`.
        tasks: ``languages`` and ``recall``.
        width: D.
        parameters: of every model, as near as its feed-forwards allow.
        rows: of a batch.
        judged: instances of the test.
        strings: fewest and most strings of a language.
        longest: most symbols of a string.
        pairs: of recall.
        keys: that they are drawn from.
        training: of each cell.
    """

    systems: tuple[System, ...] = get_args(System)
    tasks: tuple[Task, ...] = get_args(Task)
    width: int = 64
    parameters: int = 150_000
    rows: int = 16
    judged: int = 200
    strings: tuple[int, int] = (10, 19)
    longest: int = 15
    pairs: int = 8
    keys: int = 16
    training: TrainingConfig = TrainingConfig(steps=2000, learning_rates=(2e-3,), evaluate_every=10**6)

    def __post_init__(self) -> None:
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
        accuracy: share of positions whose likeliest token is a right one.
        accuracy_interval: over instances.
        distance: mean total variation from the true chances, of languages.
        distance_interval: over instances.
        parameters: weights.
        step_seconds: of the processor a training step.
        steps: of training.
    """

    task: Task
    system: str
    accuracy: float
    accuracy_interval: Interval
    distance: float | None = None
    distance_interval: Interval | None = None
    parameters: int = 0
    step_seconds: float | None = None
    steps: int = 0
