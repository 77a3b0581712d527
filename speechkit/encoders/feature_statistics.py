"""Mean and deviation of features, dimension by dimension."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.store import FeatureStore
from speechkit.errors import UserError

STATISTICS_FRAMES = 200_000
"""Frames that means and deviations are estimated from."""


def feature_statistics(
    read: Callable[[str], NDArray[np.floating[Any]]], names: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation over the items' frames, per dimension: (T, ...) to (...) each.

    Items are used in order up to `STATISTICS_FRAMES` frames; constant dimensions get deviation 1.

    Raises:
        UserError: if the items have no frames.
    """
    total: Any = 0.0
    squares: Any = 0.0
    seen = 0
    for name in names:
        frames = np.asarray(read(name), np.float64)
        total = total + frames.sum(axis=0)
        squares = squares + np.square(frames).sum(axis=0)
        seen += len(frames)
        if seen >= STATISTICS_FRAMES:
            break
    if not seen:
        raise UserError("the items have no frames; give recordings longer than 20 ms")
    mean = total / seen
    deviation = np.sqrt(np.maximum(squares / seen - np.square(mean), 0))
    return mean.astype(np.float32), np.where(deviation > 1e-5, deviation, 1).astype(np.float32)


def layer_statistics(store: FeatureStore, ids: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`feature_statistics` of every dimension of every layer, (L, D) each."""
    return feature_statistics(lambda name: store.layers(name).transpose(1, 0, 2), ids)
