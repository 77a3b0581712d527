"""Calibration of probabilities: reliability table, ECE, MCE and Brier score."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from speechkit.errors import UserError


class ReliabilityBin(msgspec.Struct, frozen=True):
    """Items with a probability in [low, high), the last bin including its upper edge, and how many are correct."""

    low: float
    high: float
    count: int
    mean_probability: float
    share_right: float


class Reliability(msgspec.Struct, frozen=True):
    """The non-empty bins and three sums over them, all between 0 and 1, lower is better.

    ``expected_error`` is the mean of |mean probability - share right| weighted by count (ECE), ``maximum_error`` the
    largest of them, and ``brier`` the mean squared difference of probability and outcome, independent of bins.
    """

    bins: list[ReliabilityBin]
    expected_error: float
    maximum_error: float
    brier: float
    count: int


def reliability(
    probabilities: ArrayLike,
    outcomes: ArrayLike,
    *,
    bins: int = 10,
    binning: Literal["width", "mass"] = "width",
) -> Reliability:
    """Reliability table of predicted probabilities.

    Args:
        probabilities: (n,) in [0, 1].
        outcomes: (n,) booleans or 0/1, whether the item was right.
        bins: number of bins.
        binning: ``width`` divides [0, 1] evenly; ``mass`` puts nearly the same number of items in each bin, which is
            more informative if most probabilities are near 1.

    Raises:
        UserError: if lengths differ, nothing is given, or a value is out of range.

    Source: Naeini et al. 2015, Obtaining well calibrated probabilities using Bayesian binning (ECE, MCE).
    """
    predicted = np.asarray(probabilities, np.float64)
    right = np.asarray(outcomes, np.float64)
    if predicted.ndim != 1 or predicted.shape != right.shape or not predicted.size:
        raise UserError(f"{predicted.shape} probabilities and {right.shape} outcomes; give two equally long lists")
    # The comparison is written so that NaN fails it too.
    if not ((predicted >= 0) & (predicted <= 1)).all():
        raise UserError("a probability is outside 0 to 1; give probabilities, not scores or log-probabilities")
    if not np.isin(right, (0, 1)).all():
        raise UserError("an outcome is neither 0 nor 1; give true or false for each item")
    if bins < 1:
        raise UserError(f"bins is {bins}; give at least 1")
    if binning == "width":
        edges = np.linspace(0, 1, bins + 1)
    elif binning == "mass":
        edges = np.unique(np.quantile(predicted, np.linspace(0, 1, bins + 1)))
        if len(edges) == 1:
            edges = np.repeat(edges, 2)
    else:
        raise UserError(f'binning is {binning!r}; choose "width" or "mass"')
    bin_of = np.clip(np.searchsorted(edges, predicted, side="right") - 1, 0, len(edges) - 2)
    counts = np.bincount(bin_of, minlength=len(edges) - 1)
    filled = np.flatnonzero(counts)
    mean = np.bincount(bin_of, predicted, minlength=len(counts))[filled] / counts[filled]
    share = np.bincount(bin_of, right, minlength=len(counts))[filled] / counts[filled]
    gap = np.abs(mean - share)
    table = [
        ReliabilityBin(float(edges[i]), float(edges[i + 1]), int(counts[i]), float(m), float(s))
        for i, m, s in zip(filled, mean, share, strict=True)
    ]
    return Reliability(
        bins=table,
        expected_error=float(np.average(gap, weights=counts[filled])),
        maximum_error=float(gap.max()),
        brier=float(np.mean((predicted - right) ** 2)),
        count=len(predicted),
    )
