"""What every task's score is made of: named measures with intervals, classes with their counts, and the mode.

A measure is a function of column sums over utterances, so that one bootstrap serves all tasks: utterances (or whole
speakers or calls) are drawn again and the function is applied to the sums of each draw. Means over classes are
linearised first: a draw lacks some of the rare classes, which a mean over a fixed set counts 0, so that its value is
too low. Each unit's part in such a mean is its jackknife pseudo-value, and the draws are of those.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.metrics.bootstrap import Interval, percentile_interval, resampled_sums, sum_by_group

FEW_UNITS = 20
JACKKNIFE_ROWS = 4096
"""Units left out at once: memory of so many rows, however many units there are."""
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


def task_score(
    task: str,
    main: str,
    counts: NDArray[np.float64],
    statistics: Mapping[str, Statistic],
    resampling: Resampling,
    *,
    ids: Sequence[str],
    own: Sequence[float],
    class_means: Collection[str] = (),
    compat: bool = False,
    classes: dict[str, ClassScore] | None = None,
    settings: dict[str, str] | None = None,
    warnings: Sequence[str] = (),
) -> TaskScore:
    """Every statistic of the sums of ``counts`` (utterances, columns), with its interval.

    A value that is not a number becomes None. With fewer than two units there is no interval; under 20 a warning.

    Args:
        task: name of the task.
        main: the statistic that systems are ranked by.
        counts: of each utterance.
        statistics: by name.
        resampling: how intervals are made.
        ids: of the utterances.
        own: the main measure of each utterance alone.
        class_means: the statistics that are means over classes, between 0 and 1; their draws are linearised.
        compat: whether the definitions are the reference toolkit's.
        classes: counts of each class.
        settings: what was chosen, for people.
        warnings: to stand behind those of the intervals.
    """
    table = counts if resampling.groups is None else sum_by_group(counts, resampling.groups)
    units, own_warnings = len(table), []
    drawn: NDArray[np.float64] | None = None
    if units < 2:
        own_warnings.append(f"{units} unit cannot show how sure a score is; there is no interval")
    elif resampling.resamples:
        if units < FEW_UNITS:
            own_warnings.append(
                f"only {units} units were drawn for the intervals; under {FEW_UNITS} they are too narrow"
            )
        influences = [_influences(table, statistics[name]) for name in class_means]
        drawn, _ = resampled_sums(
            np.column_stack([table, *influences]), resamples=resampling.resamples, seed=resampling.seed
        )
    sums = counts.sum(axis=0, keepdims=True)
    column = {name: table.shape[1] + index for index, name in enumerate(class_means)}
    measures = {}
    draws: list[float] = []
    for name, statistic in statistics.items():
        value, interval = float(statistic(sums)[0]), None
        if drawn is not None:
            values = value + drawn[:, column[name]] if name in column else statistic(drawn[:, : table.shape[1]])
            if name == main:
                draws = values.tolist()
            values = values[np.isfinite(values)]
            values = values.clip(0, 1) if name in column else values
            interval = percentile_interval(values, resampling.confidence, units) if len(values) else None
        measures[name] = Measure(value if np.isfinite(value) else None, interval)
    return TaskScore(
        task,
        "compat" if compat else "corrected",
        main,
        measures,
        classes or {},
        units,
        dict(zip(ids, own, strict=True)),
        settings or {},
        [*own_warnings, *warnings],
        draws,
    )


def _influences(table: NDArray[np.float64], statistic: Statistic) -> NDArray[np.float64]:
    """What each unit of ``table`` (units, columns) adds to the statistic of its sums, (units,), with mean 0.

    The value of a draw is that of all units and the sum of the influences of the drawn ones. They are the centred
    jackknife pseudo-values over the number of units; one without which there is no value counts as of no influence.
    Source: Efron 1982, The Jackknife, the Bootstrap and Other Resampling Plans, chapters 3 and 6.
    """
    sums, units = table.sum(axis=0), len(table)
    without = np.concatenate(
        [statistic(sums - table[start : start + JACKKNIFE_ROWS]) for start in range(0, units, JACKKNIFE_ROWS)]
    )
    known = np.isfinite(without)
    if not known.any():
        return np.zeros(units)
    without = np.where(known, without, without[known].mean())
    influences: NDArray[np.float64] = (units - 1) / units * (without.mean() - without)
    return influences


def ratio_of(above: int, below: int) -> Statistic:
    """The sum of one column over that of another: a mean, where the second counts utterances."""
    return lambda sums: safe_ratio(sums[:, above], sums[:, below])


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


def paired_ids(what: str, gold: Sequence[object], predicted: Sequence[object], ids: Sequence[str] | None) -> list[str]:
    """Names of utterances, their numbers where ``ids`` are absent.

    Raises:
        UserError: unless there are as many predictions as references, and at least one.
    """
    if len(gold) != len(predicted):
        raise UserError(f"{what}: {len(gold)} references and {len(predicted)} predictions; give one for each")
    if not len(gold):
        raise UserError(f"{what}: the split is empty; there is nothing to score")
    return list(ids) if ids is not None else [str(index) for index in range(len(gold))]


def slue_score(*, wer_voxpopuli: float, wer_voxceleb: float, sentiment_macro_f1: float, ner_micro_f1: float) -> float:
    """Mean of 100 less the mean word error rate, sentiment macro F1 and entity F1 (combined tags), all in percent.

    Source: Shon et al. 2022, SLUE, section 4.4.

    Raises:
        UserError: if a score is not between 0 and 100, an error rate is negative, or fractions were given: a score over
            0 and up to 1, or both error rates over 0 and under 1.
    """
    for name, value in (("sentiment_macro_f1", sentiment_macro_f1), ("ner_micro_f1", ner_micro_f1)):
        if not 0 <= value <= 100:
            raise UserError(f"{name} is {value}; give percent, from 0 to 100")
        if 0 < value <= 1:
            raise UserError(f"{name} is {value}, which is a fraction; give percent, {100 * value:g}")
    for name, value in (("wer_voxpopuli", wer_voxpopuli), ("wer_voxceleb", wer_voxceleb)):
        if not 0 <= value < float("inf"):
            raise UserError(f"{name} is {value}; give percent, 0 or more")
    if 0 < wer_voxpopuli < 1 and 0 < wer_voxceleb < 1:
        raise UserError(f"the word error rates {wer_voxpopuli} and {wer_voxceleb} are fractions; give percent")
    return ((100 - (wer_voxpopuli + wer_voxceleb) / 2) + sentiment_macro_f1 + ner_micro_f1) / 3
