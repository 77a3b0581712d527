"""Baselines of next-concept prediction: copy of the last, mean of the context, ridge regression on both. Torch-free.

Notation used for tensor shapes: T positions, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.arrays import Float

PENALTIES = tuple(10.0**power for power in range(-1, 6))
Wide = NDArray[np.float64]


def copy_last(concepts: Float) -> Float:
    """The concept before each position, zeros at the first: (T, D) -> (T, D)."""
    return np.concatenate([np.zeros_like(concepts[:1]), concepts[:-1]])


def context_mean(concepts: Float) -> Float:
    """Mean of the concepts before each position, zeros at the first: (T, D) -> (T, D)."""
    sums = np.cumsum(copy_last(concepts), 0, np.float64)
    return (sums / np.maximum(np.arange(len(concepts)), 1)[:, None]).astype(np.float32)


class Ridge:
    """Ridge regression of the next concept on the last one and the mean of all before it.

    Args:
        train: training documents (T, D), each of two concepts or more.
        dev: documents on which the penalty is selected; without any it is the middle one of `PENALTIES`.

    Attributes:
        penalty: the selected ridge penalty.
        parameters: number of weights.

    Raises:
        UserError: if no training document has two concepts.
    """

    def __init__(self, train: Sequence[Float], dev: Sequence[Float] = ()):
        inputs, targets = _examples(train)
        if not len(inputs):
            raise UserError("no training document has two segments for ridge regression; give longer recordings")
        gram, products = inputs.T @ inputs, inputs.T @ targets
        dev_inputs, dev_targets = _examples(dev)

        def weights(penalty: float) -> Wide:
            diagonal = np.full(len(gram), penalty)
            diagonal[-1] = 1e-9  # the intercept is not penalised
            return np.asarray(np.linalg.solve(gram + np.diag(diagonal), products))

        self.penalty = PENALTIES[len(PENALTIES) // 2]
        if len(dev_inputs):
            errors = [float(((dev_inputs @ weights(penalty) - dev_targets) ** 2).sum()) for penalty in PENALTIES]
            self.penalty = PENALTIES[int(np.argmin(errors))]
        self._weights = weights(self.penalty)
        self.parameters = self._weights.size

    def __call__(self, concepts: Float) -> Float:
        """Predict each concept from those before it: (T, D) -> (T, D)."""
        return (_inputs(concepts) @ self._weights).astype(np.float32)


def _inputs(concepts: Float) -> Wide:
    """The last concept, the mean of all before, and 1 for the intercept: (T, D) -> (T, 2 D + 1)."""
    ones = np.ones((len(concepts), 1))
    return np.concatenate([copy_last(concepts), context_mean(concepts), ones], 1, dtype=np.float64)


def _examples(documents: Sequence[Float]) -> tuple[Wide, Wide]:
    """Inputs and targets of all concepts but the first of each document."""
    if not documents:
        return np.zeros((0, 1)), np.zeros((0, 1))
    return (
        np.concatenate([_inputs(concepts)[1:] for concepts in documents]),
        np.concatenate([concepts[1:] for concepts in documents]).astype(np.float64),
    )
