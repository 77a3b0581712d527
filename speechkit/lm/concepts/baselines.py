"""Baselines of next-concept prediction: copy of the last, mean of the context, ridge regression on both. Torch-free.

Notation used for tensor shapes: T places, D width.
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
    """Each place's predecessor, zeros before the first: (T, D) -> (T, D)."""
    return np.concatenate([np.zeros_like(concepts[:1]), concepts[:-1]])


def context_mean(concepts: Float) -> Float:
    """The mean of all before each place, zeros before the first: (T, D) -> (T, D)."""
    sums = np.cumsum(copy_last(concepts), 0, np.float64)
    return (sums / np.maximum(np.arange(len(concepts)), 1)[:, None]).astype(np.float32)


class Ridge:
    """Ridge regression of the next concept on the last one and the mean of all before it.

    Args:
        train: documents (T, D), each of two concepts or more.
        dev: documents that choose the penalty; with none it is the middle one of `PENALTIES`.

    Attributes:
        penalty: chosen.
        parameters: weights.

    Raises:
        UserError: if no training document has two concepts.
    """

    def __init__(self, train: Sequence[Float], dev: Sequence[Float] = ()):
        inputs, targets = _examples(train)
        if not len(inputs):
            raise UserError("no training document has two segments for ridge regression; give longer recordings")
        gram, products = inputs.T @ inputs, inputs.T @ targets
        held, wanted = _examples(dev)

        def weights(penalty: float) -> Wide:
            added = np.full(len(gram), penalty)
            added[-1] = 1e-9  # the constant is free
            return np.asarray(np.linalg.solve(gram + np.diag(added), products))

        self.penalty = PENALTIES[len(PENALTIES) // 2]
        if len(held):
            errors = [float(((held @ weights(penalty) - wanted) ** 2).sum()) for penalty in PENALTIES]
            self.penalty = PENALTIES[int(np.argmin(errors))]
        self._weights = weights(self.penalty)
        self.parameters = self._weights.size

    def __call__(self, concepts: Float) -> Float:
        """(T, D) -> each place from those before it (T, D)."""
        return (_inputs(concepts) @ self._weights).astype(np.float32)


def _inputs(concepts: Float) -> Wide:
    """The last concept, the mean of all before, and 1: (T, D) -> (T, 2 D + 1)."""
    ones = np.ones((len(concepts), 1))
    return np.concatenate([copy_last(concepts), context_mean(concepts), ones], 1, dtype=np.float64)


def _examples(documents: Sequence[Float]) -> tuple[Wide, Wide]:
    """Inputs and targets of all places behind the first of each document."""
    if not documents:
        return np.zeros((0, 1)), np.zeros((0, 1))
    return (
        np.concatenate([_inputs(each)[1:] for each in documents]),
        np.concatenate([each[1:] for each in documents]).astype(np.float64),
    )
