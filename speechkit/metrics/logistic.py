"""A probability from a few features: logistic regression, kept as JSON."""

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
    """Maximum-likelihood weights with a ridge penalty on standardised features, fitted by scikit-learn.

    Args:
        rows: feature rows (n, f).
        right: (n,), the outcomes; both must occur.
        names: of the features.
        ridge: weight of the penalty; the bias has none.
    """
    from sklearn.linear_model import LogisticRegression

    mean, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)
    fitted = LogisticRegression(C=1 / ridge, solver="newton-cholesky", tol=1e-9).fit((rows - mean) / scale, right)
    return LogisticModel(
        list(names), mean.tolist(), scale.tolist(), fitted.coef_[0].tolist(), float(fitted.intercept_[0])
    )
