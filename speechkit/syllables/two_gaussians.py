"""Two kinds of values told apart: a mixture of two Gaussians and the value where both are equally likely."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError

BINS = 4096
MAX_STEPS = 2000
FEWEST_VALUES = 10


class TwoGaussians(msgspec.Struct, frozen=True):
    """Means, standard deviations and shares of the lower and the higher kind."""

    means: tuple[float, float]
    deviations: tuple[float, float]
    shares: tuple[float, float]

    @property
    def separation(self) -> float:
        """Ashman's D: the distance of the means in deviations; the kinds overlap where it is under 2."""
        low, high = self.deviations
        return abs(self.means[1] - self.means[0]) / math.sqrt((low**2 + high**2) / 2)

    @property
    def crossing(self) -> float:
        """The value between the means that is as likely in one kind as in the other, whatever their shares.

        Where no value between the means is, it is the one that lies as many deviations from either.
        """
        (m0, m1), (s0, s1) = self.means, self.deviations
        # The logarithms of both densities are equal where a x^2 + b x + c = 0.
        a = 1 / (2 * s1**2) - 1 / (2 * s0**2)
        b = m0 / s0**2 - m1 / s1**2
        c = m1**2 / (2 * s1**2) - m0**2 / (2 * s0**2) + math.log(s1 / s0)
        inside = []
        if abs(a) * (m1 - m0) ** 2 < 1e-9:
            inside = [-c / b] if b else []
        elif (discriminant := b * b - 4 * a * c) >= 0:
            root = math.sqrt(discriminant)
            inside = [(-b + root) / (2 * a), (-b - root) / (2 * a)]
        between = [value for value in inside if m0 <= value <= m1]
        return between[0] if between else (m0 * s1 + m1 * s0) / (s0 + s1)


def fit_two_gaussians(values: NDArray[np.floating[Any]], what: str) -> TwoGaussians:
    """The mixture of two Gaussians that expectation maximisation finds from the values' own halves.

    The values are counted in 4096 bins first, so that a step costs the same however many there are.

    Args:
        values: (n,), finite.
        what: they are, for the error, as "norms of frames".

    Raises:
        UserError: if there are too few values, or all are alike.
    """
    if len(values) < FEWEST_VALUES:
        raise UserError(f"{len(values)} {what} are too few to tell two kinds apart; give more speech")
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-6 * max(abs(low), abs(high), 1e-30):
        raise UserError(f"all {len(values)} {what} are alike ({low:.4g}); give recordings with speech and pauses")
    counts, edges = np.histogram(values, BINS, (low, high))
    centres = (edges[1:] + edges[:-1]) / 2
    weights = counts / counts.sum()
    narrowest = ((high - low) / BINS) ** 2
    middle = float((weights * centres).sum())
    belongs = np.stack([centres < middle, centres >= middle]).astype(np.float64)
    previous = -np.inf
    for _ in range(MAX_STEPS):
        mass = belongs * weights
        shares = np.maximum(mass.sum(axis=1), 1e-12)
        means = (mass * centres).sum(axis=1) / shares
        variances = np.maximum((mass * (centres - means[:, None]) ** 2).sum(axis=1) / shares, narrowest)
        logs = np.log(shares / np.sqrt(2 * np.pi * variances))[:, None]
        logs = logs - (centres - means[:, None]) ** 2 / (2 * variances)[:, None]
        top = logs.max(axis=0)
        evidence = top + np.log(np.exp(logs - top).sum(axis=0))
        belongs = np.exp(logs - evidence)
        likelihood = float((weights * evidence).sum())
        if likelihood - previous < 1e-9:
            break
        previous = likelihood
    order = np.argsort(means)
    first, second = int(order[0]), int(order[1])
    deviations = np.sqrt(variances)
    return TwoGaussians(
        (float(means[first]), float(means[second])),
        (float(deviations[first]), float(deviations[second])),
        (float(shares[first]), float(shares[second])),
    )
