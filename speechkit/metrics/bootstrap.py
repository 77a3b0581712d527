"""Bootstrap confidence intervals of ratios of sums, over items or over groups of items."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechkit.errors import UserError

DEFAULT_RESAMPLES = 2000
# Draws held at once, as int64: 2 MB, whatever the number of items.
MAX_DRAWS = 250_000
# More items are put into random groups, which are resampled: the spread of the sums is the same within 1 %, and
# resampling 300,000 items 2,000 times would take minutes.
# Source: Wolter 1985, Introduction to Variance Estimation, chapter 2.
MOST_DRAWN = 10_000


class Interval(msgspec.Struct, frozen=True):
    """A percentile interval at ``confidence`` (0 to 1) from ``resamples`` bootstrap resamples over ``units`` items."""

    low: float
    high: float
    confidence: float
    resamples: int
    units: int


def sum_by_group(values: ArrayLike, groups: Sequence[Hashable]) -> NDArray[np.float64]:
    """Sums of ``values`` (n, k) over the items of each group, (groups, k), in order of first appearance."""
    table = np.asarray(values, np.float64)
    if len(groups) != len(table):
        raise UserError(f"{len(groups)} groups for {len(table)} items; give one group per item")
    number: dict[Hashable, int] = {}
    index = np.array([number.setdefault(group, len(number)) for group in groups], np.intp)
    sums = np.zeros((len(number), table.shape[1]))
    np.add.at(sums, index, table)
    return sums


def bootstrap(
    counts: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    times: NDArray[np.int64] | None = None,
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of a statistic of column sums.

    Args:
        counts: (n, k), one row for each independent item: an utterance, a speaker, a recording.
        statistic: column sums (resamples, k) to values (resamples,).
        times: (n,) number of items that each row stands for; default: one.
        confidence: coverage of the interval, between 0 and 1.
        resamples: number of resamples of n rows with replacement.
        seed: the same seed gives the same interval on every machine.

    Source: Bisani and Ney 2004, Bootstrap estimates for confidence intervals in ASR performance evaluation.
    """
    check_settings(confidence, resamples, seed)
    sums, n = resampled_sums(counts, times=times, resamples=resamples, seed=seed)
    return percentile_interval(statistic(sums), confidence, n)


def check_settings(confidence: float, resamples: int, seed: int) -> None:
    """Refuse settings of a bootstrap, before anything is measured.

    Raises:
        UserError: naming the one that is out of range.
    """
    _check_confidence(confidence)
    _check_drawing(resamples, seed)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UserError(f"confidence is {confidence}; give a share between 0 and 1, for example 0.95")


def _check_drawing(resamples: int, seed: int) -> None:
    if resamples < 1:
        raise UserError(f"resamples is {resamples}; give at least 1")
    if seed < 0:
        raise UserError(f"seed is {seed}; give 0 or more")


def resampled_sums(
    counts: ArrayLike, *, times: NDArray[np.int64] | None = None, resamples: int = DEFAULT_RESAMPLES, seed: int = 0
) -> tuple[NDArray[np.float64], int]:
    """Column sums (resamples, k) of ``counts`` (n, k) resampled with replacement, and the number of items per resample.

    Systems in columns of one table are resampled together, so that differences are paired. More than `MOST_DRAWN` items
    are put into that many random groups, and the groups are resampled.
    """
    table = np.asarray(counts, np.float64)
    if table.ndim != 2 or not len(table):
        raise UserError(f"a bootstrap needs at least one item; counts of shape {table.shape} were given")
    _check_drawing(resamples, seed)
    random = np.random.default_rng(seed)
    repeats = np.ones(len(table), np.int64) if times is None else np.asarray(times, np.int64)
    n = items = int(repeats.sum())
    if times is None and len(table) > MOST_DRAWN:
        table = _random_groups(table, random)
        n, repeats = len(table), np.ones(len(table), np.int64)
    sums = np.empty((resamples, table.shape[1]))
    block = max(1, MAX_DRAWS // len(table))
    for begin in range(0, resamples, block):
        end = min(begin + block, resamples)
        # A sum needs only the number of times that each item is drawn.
        drawn = random.multinomial(n, repeats / n, size=end - begin)
        sums[begin:end] = drawn @ table
    return sums, items


def _random_groups(table: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Sums of `MOST_DRAWN` random groups of rows, of equal size within one."""
    borders = np.arange(MOST_DRAWN) * len(table) // MOST_DRAWN
    sums: NDArray[np.float64] = np.add.reduceat(table[random.permutation(len(table))], borders, axis=0)
    return sums


def percentile_interval(values: NDArray[np.float64], confidence: float, units: int) -> Interval:
    """The middle ``confidence`` of resampled values (resamples,) over ``units`` items."""
    _check_confidence(confidence)
    tail = (1 - confidence) / 2
    # No interpolation of order statistics: between infinite rates it would give NaN.
    low, high = np.quantile(values, [tail, 1 - tail], method="nearest")
    return Interval(float(low), float(high), confidence, len(values), units)


def bootstrap_ratio(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Interval of ``sum(numerators) / sum(denominators)``, for example errors over reference words.

    Args:
        numerators: (n,) counts of each item.
        denominators: (n,) counts of each item.
        groups: the group of each item; if given, whole groups are resampled, since items of one speaker are correlated
            and would make the interval too narrow.
        confidence: coverage.
        resamples: number of resamples.
        seed: random seed.
    """
    table = np.stack([np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)], axis=1)
    if groups is not None:
        table = sum_by_group(table, groups)
    return bootstrap(table, _ratio_of_sums, confidence=confidence, resamples=resamples, seed=seed)


def _ratio_of_sums(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return ratio(sums[:, 0], sums[:, 1])


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> NDArray[np.float64]:
    """Elementwise ratio; 0 / 0 is 0, and x / 0 is infinite for x > 0."""
    above, below = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    empty = np.where(above > 0, np.inf, 0.0)
    result: NDArray[np.float64] = np.divide(above, below, out=empty, where=below > 0)
    return result
