"""Precision, recall and F1 with intervals, and boundary errors."""

from __future__ import annotations

from functools import partial

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechkit.errors import UserError
from speechkit.metrics.bootstrap import DEFAULT_RESAMPLES, Interval, bootstrap, ratio


class Detection(msgspec.Struct, frozen=True):
    """Counts of a detection task and its rates; every rate is between 0 and 1."""

    true_positives: int
    false_positives: int
    false_negatives: int
    precision: float
    recall: float
    f1: float
    precision_interval: Interval
    recall_interval: Interval
    f1_interval: Interval


def detection(
    true_positives: ArrayLike,
    false_positives: ArrayLike,
    false_negatives: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Detection:
    """Precision, recall and F1, each with a bootstrap interval.

    Args:
        true_positives: a count, or (n,) counts, one for each recording.
        false_positives: of the same shape.
        false_negatives: of the same shape.
        confidence: coverage of each interval.
        resamples: number of bootstrap resamples.
        seed: random seed.

    With counts per recording, recordings are resampled; with single counts, decisions are. 0 / 0 is 0.

    Raises:
        UserError: if a count is negative, not whole, or the shapes differ.
    """
    given = [np.atleast_1d(np.asarray(c)) for c in (true_positives, false_positives, false_negatives)]
    if len({c.shape for c in given}) != 1 or given[0].ndim != 1 or not given[0].size:
        shapes = ", ".join(str(c.shape) for c in given)
        raise UserError(f"counts have shapes {shapes}; give three numbers or three equally long lists")
    table = np.stack([c.astype(np.float64) for c in given], axis=1)
    if (table < 0).any() or (table != np.round(table)).any():
        raise UserError("counts have a negative or fractional number; give whole numbers")
    totals = table.sum(axis=0)
    # A single count becomes rows of its decisions: three kinds of rows, weighted by their counts.
    single = len(table) == 1 and totals.sum() > 0
    rows, times = (np.eye(3), totals.astype(np.int64)) if single else (table, None)

    def interval(which: int) -> Interval:
        rate = partial(_rates, which=which)
        return bootstrap(rows, rate, times=times, confidence=confidence, resamples=resamples, seed=seed)

    return Detection(
        true_positives=int(totals[0]),
        false_positives=int(totals[1]),
        false_negatives=int(totals[2]),
        precision=float(_rates(totals[None], 0)[0]),
        recall=float(_rates(totals[None], 1)[0]),
        f1=float(_rates(totals[None], 2)[0]),
        precision_interval=interval(0),
        recall_interval=interval(1),
        f1_interval=interval(2),
    )


def _rates(sums: NDArray[np.float64], which: int) -> NDArray[np.float64]:
    """Precision (0), recall (1) or F1 (2) of (n, 3) sums of true positives, false positives, false negatives."""
    tp, fp, fn = sums.T
    if which == 0:
        return ratio(tp, tp + fp)
    if which == 1:
        return ratio(tp, tp + fn)
    return ratio(2 * tp, 2 * tp + fp + fn)


class BoundaryErrors(msgspec.Struct, frozen=True):
    """Distances of boundaries in seconds: quantiles and maximum of |error|; ``bias`` is the mean signed error."""

    count: int
    median: float
    p95: float
    maximum: float
    bias: float


def boundary_errors(reference_seconds: ArrayLike, found_seconds: ArrayLike) -> BoundaryErrors:
    """Errors of ``found_seconds`` (n,) against ``reference_seconds`` (n,), boundary by boundary.

    A positive bias means late. Quantiles interpolate linearly between order statistics.

    Raises:
        UserError: if the lists differ in length, are empty, or have a time that is not finite.
    """
    reference = np.asarray(reference_seconds, np.float64)
    predicted = np.asarray(found_seconds, np.float64)
    if reference.ndim != 1 or reference.shape != predicted.shape or not reference.size:
        raise UserError(
            f"{reference.shape} true and {predicted.shape} predicted boundaries; give two equally long lists"
        )
    error = predicted - reference
    if not np.isfinite(error).all():
        raise UserError(f"boundary {int(np.argmin(np.isfinite(error)))} is not a finite time; remove or fix it")
    size = np.abs(error)
    median, p95 = np.quantile(size, [0.5, 0.95])
    return BoundaryErrors(len(error), float(median), float(p95), float(size.max()), float(error.mean()))
