"""Whether two systems differ: paired bootstrap, matched pairs of segments (MAPSSWE), and McNemar on utterances."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.metrics.alignments import Alignments
from speechkit.metrics.bootstrap import Interval, percentile_interval, ratio, resampled_sums
from speechkit.metrics.error_rates import ErrorResult

FEW_UNITS = 20
FEW_DRAWS = 10
FEW_SEGMENTS = 50
GOOD_WORDS = 2  # correct in both systems: they separate two segments


class RateBootstrap(msgspec.Struct, frozen=True):
    """Resampled rates of systems over the same resamples: rates (systems,), resampled (resamples, systems), units."""

    rates: NDArray[np.float64]
    resampled: NDArray[np.float64]
    units: int

    def interval(self, system: int, confidence: float) -> Interval:
        """Percentile interval of one system's rate."""
        return percentile_interval(self.resampled[:, system], confidence, self.units)


class PairedDifference(msgspec.Struct, frozen=True):
    """Difference of two rates, its interval, and the two-sided p-value."""

    difference: float
    interval: Interval
    p_value: float


class MatchedPairs(msgspec.Struct, frozen=True):
    """Mean of (errors of the first - errors of the second) over ``segments``, its z value and two-sided p-value."""

    segments: int
    mean: float
    z: float
    p_value: float


class McNemar(msgspec.Struct, frozen=True):
    """Utterances that only one system has wrong, and the two-sided p-value."""

    only_first_wrong: int
    only_second_wrong: int
    p_value: float


def bootstrap_rates(
    errors: NDArray[np.float64], tokens: NDArray[np.float64], *, resamples: int, seed: int
) -> RateBootstrap:
    """Resample units for all systems together; errors and tokens are (units, systems)."""
    systems = errors.shape[1]
    sums, units = resampled_sums(np.concatenate([errors, tokens], axis=1), resamples=resamples, seed=seed)
    rates = ratio(errors.sum(axis=0), tokens.sum(axis=0))
    return RateBootstrap(rates, ratio(sums[:, :systems], sums[:, systems:]), units)


def paired_difference(drawn: RateBootstrap, first: int, second: int, confidence: float) -> PairedDifference:
    """The difference of two systems over the same resamples; see `drawn_difference`."""
    with np.errstate(invalid="ignore"):
        differences = drawn.resampled[:, first] - drawn.resampled[:, second]
        observed = float(np.nan_to_num(drawn.rates[first] - drawn.rates[second], nan=0.0))
    return drawn_difference(observed, differences, confidence, drawn.units)


def drawn_difference(
    observed: float, differences: NDArray[np.float64], confidence: float, units: int
) -> PairedDifference:
    """An observed difference with the interval and the p-value of its resampled values (resamples,).

    p is twice the smaller share of resamples whose difference is not positive or not negative, with the observed value
    counted on both sides. With fewer than ten resamples in a tail, p is the tail of Student's t with their standard
    deviation and units - 1 degrees of freedom, so that p can be small enough for many comparisons. NaN counts as no
    difference.
    Source: Bisani and Ney 2004, section 3 (probability of improvement).
    """
    differences = np.nan_to_num(differences, nan=0.0)
    tail = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p_value = min(1.0, 2 * (tail + 1) / (len(differences) + 1))
    if tail < FEW_DRAWS:
        p_value = min(p_value, _tail(observed, float(differences.std()), units))
    return PairedDifference(observed, percentile_interval(differences, confidence, units), p_value)


def _tail(difference: float, error: float, units: int) -> float:
    """Two-sided p-value of a mean difference with a standard error over ``units``, by Student's t."""
    from scipy.special import stdtr

    if difference == 0 or units < 2:
        return 1.0
    if not error > 1e-9 * abs(difference):  # all units differ equally: a sign test
        return float(2.0 ** (1 - units))
    return min(1.0, 2 * float(stdtr(units - 1, -abs(difference) / error)))


def matched_pairs(first: ErrorResult, second: ErrorResult) -> MatchedPairs:
    """MAPSSWE: errors of both systems in segments separated by two or more words correct in both.

    An utterance with different chosen alternatives is one segment. Under `FEW_SEGMENTS` segments p is that of Student's
    t, and under two it is 1. Source: Gillick and Cox 1989; NIST's sc_stats.

    Raises:
        UserError: if the results are not of the same utterances in the same order.
    """
    segments = _segments(*_same(first, second))
    if len(segments) < 2:
        return MatchedPairs(len(segments), 0.0, 0.0, 1.0)
    differences = (segments[:, 0] - segments[:, 1]).astype(np.float64)
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1))
    error = deviation / math.sqrt(len(segments))
    if error == 0:
        z = 0.0 if mean == 0 else math.copysign(math.inf, mean)
    else:
        z = mean / error
    few = len(segments) < FEW_SEGMENTS or z in (math.inf, -math.inf)
    p_value = _tail(mean, error, len(segments)) if few else math.erfc(abs(z) / math.sqrt(2))
    return MatchedPairs(len(segments), mean, z, p_value)


def mcnemar(first: ErrorResult, second: ErrorResult) -> McNemar:
    """McNemar's exact test on utterances with any error.

    Source: McNemar 1947; Gillick and Cox 1989, section 3.
    """
    wrong, also = (side.counts[:, 1:].any(axis=1) for side in _same(first, second))
    only_first, only_second = int((wrong & ~also).sum()), int((also & ~wrong).sum())
    return McNemar(only_first, only_second, binomial_p(only_first, only_second))


def binomial_p(first: int, second: int) -> float:
    """Two-sided exact p-value of ``first`` against ``second`` outcomes when both have probability one half."""
    from scipy.special import bdtr  # the tail that `scipy.stats.binomtest` sums, without the import of scipy.stats

    count, fewer = first + second, min(first, second)
    return min(1.0, 2 * float(bdtr(fewer, count, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for multiple comparisons (Holm 1979), in the given order."""
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted


def shown_p(p_value: float | None) -> str:
    """A p-value as short text; below floating-point precision it is <1e-16."""
    if p_value is None:
        return "–"
    return "<1e-16" if p_value < 1e-16 else f"{p_value:.2g}"


def _same(first: ErrorResult, second: ErrorResult) -> tuple[Alignments, Alignments]:
    if first.utterances.ids != second.utterances.ids:
        raise UserError("systems can be compared only on the same utterances in the same order")
    return first.utterances, second.utterances


def _segments(first: Alignments, second: Alignments) -> NDArray[np.int64]:
    """Errors of both systems in each segment, (segments, 2).

    Word i of an utterance has the position 2 i + 1, an insertion before it 2 i.
    """
    different = _read_differently(first, second)
    width = 2 * int(
        first.reference.lengths.max(initial=0) + GOOD_WORDS + 2
    )  # per utterance, so that utterances are separated
    events = [_events(side, different, width) for side in (first, second)]
    positions = np.concatenate([events[0][0], events[1][0]])
    errors = np.zeros((len(positions), 2), np.int64)
    errors[: len(events[0][0]), 0], errors[len(events[0][0]) :, 1] = events[0][1], events[1][1]
    order = np.argsort(positions, kind="stable")
    positions, errors = positions[order], errors[order]
    begins = np.ones(len(positions), bool)
    begins[1:] = positions[1:] // 2 - (positions[:-1] + 1) // 2 >= GOOD_WORDS
    inside = np.add.reduceat(errors, np.flatnonzero(begins), axis=0) if len(positions) else errors
    whole = np.stack([side.counts[different, 1:].sum(axis=1) for side in (first, second)], axis=1)
    return np.concatenate([inside, whole[whole.any(axis=1)]])


def _read_differently(first: Alignments, second: Alignments) -> NDArray[np.bool_]:
    """Utterances with different chosen alternatives."""
    left, right = first.reference, second.reference
    if left is right or (
        left.vocabulary is right.vocabulary
        and np.array_equal(left.bounds, right.bounds)
        and np.array_equal(left.numbers, right.numbers)
    ):
        return np.zeros(len(first), bool)
    return np.array([left.tokens(i) != right.tokens(i) for i in range(len(first))], bool)


def _events(side: Alignments, different: NDArray[np.bool_], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions and numbers of the errors of one system, without the utterances ``different``."""
    of = np.repeat(np.arange(len(side)), np.diff(side.runs.bounds))
    alike = ~different[of]
    rows, of = side.runs.rows[alike].astype(np.int64), of[alike]
    is_insertion = rows[:, 1] == 0  # insertions have one position, other runs that of each word
    lengths = np.maximum(rows[:, 1], 1)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    positions = np.repeat(of * width + 2 * rows[:, 0] + ~is_insertion, lengths) + 2 * within
    return positions, np.repeat(np.where(is_insertion, rows[:, 2], 1), lengths)


def few_units(units: int, by: str) -> list[str]:
    """A warning, if ``units`` independent items (speakers, recordings) are too few to trust an interval over them."""
    if units < 2:
        return [f"one {by} only: no interval or p-value"]
    if units < FEW_UNITS:
        return [f"only {units} {by}s: intervals and p-values are rough under {FEW_UNITS}"]
    return []
