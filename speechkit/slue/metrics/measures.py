"""What every task's score is made of: named measures with intervals, classes with their counts, and the mode.

A measure is a function of column sums over utterances, so that one bootstrap serves all tasks: utterances (or whole
speakers or calls) are drawn again and the function is applied to the sums of each draw.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.metrics.bootstrap import Interval, percentile_interval, resampled_sums, sum_by_group

FEW_UNITS = 20
Mode = Literal["corrected", "compat"]
Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Column sums (draws, columns) to values (draws,)."""


class Measure(msgspec.Struct, frozen=True):
    """A value (a fraction unless its task says otherwise; None where it is not defined) and its interval."""

    value: float | None
    interval: Interval | None = None


class ClassScore(msgspec.Struct, frozen=True):
    """Precision, recall and F1 of one class from its counts; 0 / 0 is 0."""

    gold: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float:
        """Correct over predicted."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Correct over gold."""
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return harmonic(self.precision, self.recall)


class TaskScore(msgspec.Struct, frozen=True):
    """The scores of one system on one task.

    ``mode`` says which definitions were used: "compat" repeats the reference toolkit's functions with their defects,
    "corrected" is the default. ``main`` names the measure that systems are ranked by. ``utterances`` holds the main
    measure's value of each utterance alone, in the order of the references, for lists of the worst. ``draws`` are the
    main measure's resampled values; two systems scored on the same utterances with the same seed share their draws.
    """

    task: str
    mode: Mode
    main: str
    measures: dict[str, Measure]
    classes: dict[str, ClassScore]
    units: int
    utterances: dict[str, float]
    settings: dict[str, str] = {}
    warnings: list[str] = []
    draws: list[float] = []

    @property
    def value(self) -> float | None:
        """The main measure."""
        return self.measures[self.main].value


class Resampling(msgspec.Struct, frozen=True):
    """How intervals are made: ``groups`` (a speaker or call for each utterance) are drawn whole where given.

    ``resamples`` 0 makes no intervals.
    """

    resamples: int = 2000
    seed: int = 0
    confidence: float = 0.95
    groups: tuple[Hashable, ...] | None = None


DEFAULT_RESAMPLING = Resampling()


class Measured(msgspec.Struct, frozen=True):
    """Measures by name, the units that were drawn, warnings, and the draws of the main measure."""

    measures: dict[str, Measure]
    units: int
    warnings: list[str]
    draws: list[float]


def measured(
    counts: NDArray[np.float64], statistics: Mapping[str, Statistic], resampling: Resampling, main: str
) -> Measured:
    """Every statistic of the sums of ``counts`` (utterances, columns), with its interval.

    A value that is not a number becomes None. With fewer than two units there is no interval; under 20 a warning.
    """
    sums = counts.sum(axis=0, keepdims=True)
    values = {name: float(statistic(sums)[0]) for name, statistic in statistics.items()}
    table = counts if resampling.groups is None else sum_by_group(counts, resampling.groups)
    units, warnings = len(table), []
    if units < 2 or not resampling.resamples:
        if units < 2:
            warnings.append(f"{units} unit cannot show how sure a score is; there is no interval")
        return Measured({name: Measure(_number(value)) for name, value in values.items()}, units, warnings, [])
    if units < FEW_UNITS:
        warnings.append(f"only {units} units were drawn for the intervals; under {FEW_UNITS} they are too narrow")
    drawn, _ = resampled_sums(table, resamples=resampling.resamples, seed=resampling.seed)
    found = {}
    draws: list[float] = []
    for name, statistic in statistics.items():
        values_drawn = statistic(drawn)
        if name == main:
            draws = values_drawn.tolist()
        values_drawn = values_drawn[np.isfinite(values_drawn)]
        interval = percentile_interval(values_drawn, resampling.confidence, units) if len(values_drawn) else None
        found[name] = Measure(_number(values[name]), interval)
    return Measured(found, units, warnings, draws)


def harmonic(precision: float, recall: float) -> float:
    """F1 of precision and recall, 0 where both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def safe_ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Elementwise ratio where division by 0 gives 0."""
    above, below = np.broadcast_arrays(above, below)
    result: NDArray[np.float64] = np.divide(above, below, out=np.zeros(above.shape), where=below > 0)
    return result


def f_scores(
    correct: NDArray[np.float64], predicted: NDArray[np.float64], gold: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Elementwise precision, recall and F1 of counts."""
    precision, recall = safe_ratio(correct, predicted), safe_ratio(correct, gold)
    return precision, recall, safe_ratio(2 * precision * recall, precision + recall)


def check_pairs(what: str, gold: Sequence[object] | Mapping[str, object], predicted: Sequence[object]) -> None:
    """Raise unless there are as many predictions as references, and at least one."""
    if len(gold) != len(predicted):
        raise UserError(f"{what}: {len(gold)} references and {len(predicted)} predictions; give one for each")
    if not len(gold):
        raise UserError(f"{what}: the split is empty; there is nothing to score")


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
