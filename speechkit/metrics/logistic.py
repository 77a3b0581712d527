"""A probability from a few features: logistic regression that is fitted here and kept as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


class LogisticModel(msgspec.Struct, frozen=True):
    """``1 / (1 + exp(-(bias + sum(weight * (feature - mean) / scale))))``."""

    features: list[str]
    mean: list[float]
    scale: list[float]
    weights: list[float]
    bias: float

    def probability(self, rows: Matrix) -> NDArray[np.float64]:
        """Probabilities (n,) of feature rows (n, f)."""
        logit = ((rows - np.array(self.mean)) / np.array(self.scale)) @ np.array(self.weights) + self.bias
        probability: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(logit, -40, 40)))
        return probability


def fit_logistic(rows: Matrix, right: NDArray[np.bool_], names: Sequence[str], ridge: float = 1.0) -> LogisticModel:
    """Maximum-likelihood weights with a ridge penalty, by Newton's method on standardised features."""
    mean, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)
    design = np.column_stack([(rows - mean) / scale, np.ones(len(rows))])
    penalty = np.diag([ridge] * rows.shape[1] + [1e-6])
    weights = np.zeros(design.shape[1])
    target = right.astype(np.float64)
    for _ in range(60):
        predicted = 1 / (1 + np.exp(-np.clip(design @ weights, -40, 40)))
        gradient = design.T @ (target - predicted) - penalty @ weights
        curvature = (design * (predicted * (1 - predicted))[:, None]).T @ design + penalty
        step = np.linalg.solve(curvature, gradient)
        weights += step
        if np.abs(step).max() < 1e-9:
            break
    return LogisticModel(list(names), mean.tolist(), scale.tolist(), weights[:-1].tolist(), float(weights[-1]))
