"""Task scores: named measures with bootstrap intervals, class counts, and the mode of the definitions.

A measure is a function of column sums over utterances, so one bootstrap serves all tasks: utterances (or whole speakers
or calls) are resampled and the function is applied to the sums of each draw. Macro averages are linearised first:
draws lack some of the rare classes, which would count as 0 and bias the average down. Each unit contributes its
jackknife pseudo-value instead, and those are resampled.
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
"""Jackknife replicates computed at once; bounds memory."""
Mode = Literal["corrected", "compat"]
Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""A function from column sums (draws, columns) to values (draws,)."""


class Measure(msgspec.Struct, frozen=True):
    """A value (a fraction unless the task says otherwise; None if undefined) and its interval."""

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

    ``mode`` is "compat" for the reference toolkit's definitions, including their defects, else "corrected". ``main``
    names the measure that systems are ranked by. ``utterances`` are its values on single utterances, in the order of
    the references. ``draws`` are its bootstrap replicates; systems scored on the same utterances with the same seed
    share the resamples.
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
    """Bootstrap settings; ``groups`` (a speaker or call per utterance) are resampled whole.

    With ``resamples`` 0 there are no intervals.
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
    """Every statistic of the column sums of ``counts`` (utterances, columns), with its interval.

    A value of NaN becomes None. With fewer than two units there is no interval; with fewer than 20 a warning.

    Args:
        task: name of the task.
        main: name of the statistic that systems are ranked by.
        counts: counts per utterance.
        statistics: by name.
        resampling: bootstrap settings.
        ids: of the utterances.
        own: the main measure of each single utterance.
        class_means: statistics that average over classes, between 0 and 1; their draws are linearised.
        compat: whether the definitions are the reference toolkit's.
        classes: counts of each class.
        settings: settings to show with the score.
        warnings: appended to those of the intervals.
    """
    table = counts if resampling.groups is None else sum_by_group(counts, resampling.groups)
    units, own_warnings = len(table), []
    drawn: NDArray[np.float64] | None = None
    if units < 2:
        own_warnings.append(f"there is no interval: {units} unit is too few for resampling")
    elif resampling.resamples:
        if units < FEW_UNITS:
            own_warnings.append(
                f"intervals are from {units} units only; with fewer than {FEW_UNITS} they are too narrow"
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
    """Influence (units,) of each unit of ``table`` (units, columns) on the statistic, with mean 0.

    A draw's value is the value of all units plus the influences of its units: centred jackknife pseudo-values over the
    number of units. A unit without which the statistic is undefined has no influence.
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
    """Ratio of two column sums; a mean if the second column counts utterances."""
    return lambda sums: safe_ratio(sums[:, above], sums[:, below])


def harmonic(precision: float, recall: float) -> float:
    """Harmonic mean of precision and recall; 0 if both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def safe_ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Elementwise ratio; 0 where the denominator is 0."""
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
    """The ids, or the indices of the utterances if ``ids`` is None.

    Raises:
        UserError: if the numbers of references and predictions differ, or are 0.
    """
    if len(gold) != len(predicted):
        raise UserError(
            f"{what}: {len(gold)} references but {len(predicted)} predictions; give one prediction per reference"
        )
    if not len(gold):
        raise UserError(f"{what}: the split is empty; there is nothing to score")
    return list(ids) if ids is not None else [str(index) for index in range(len(gold))]


def slue_score(*, wer_voxpopuli: float, wer_voxceleb: float, sentiment_macro_f1: float, ner_micro_f1: float) -> float:
    """SLUE score: mean of 100 - mean WER, sentiment macro F1 and entity F1 (combined tags), all in percent.

    Source: Shon et al. 2022, SLUE, section 4.4.

    Raises:
        UserError: if a score is not between 0 and 100, an error rate is negative, or values are fractions: a score in
            (0, 1], or both error rates in (0, 1).
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
