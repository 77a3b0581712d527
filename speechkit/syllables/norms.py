"""Norms of frames and the stretches of speech that they show."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.syllables.segments import Boundaries, checked_features, not_finite

BLOCK_FRAMES = 8192


def frame_norms(features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """L2 norm (T,) of each frame (T, D); a mapped file is read in blocks.

    Raises:
        UserError: if the frames are no table of finite numbers, with the first frame that is not.
    """
    table = checked_features(features)
    norms = np.empty(len(table))
    for begin in range(0, len(table), BLOCK_FRAMES):
        block = np.asarray(table[begin : begin + BLOCK_FRAMES], np.float64)
        norms[begin : begin + len(block)] = np.sqrt(np.einsum("td,td->t", block, block))
    finite = np.isfinite(norms)
    if not finite.all():
        raise not_finite(int(np.argmin(finite)))
    return norms


def runs_of_speech(norms: NDArray[np.float64], threshold: float | None) -> Boundaries:
    """Maximal runs (n, 2) of frames whose norm reaches the threshold; all frames when there is none."""
    if threshold is None:
        return np.array([[0, len(norms)]] if len(norms) else [], np.int64).reshape(-1, 2)
    speech = np.concatenate([[False], norms >= threshold, [False]])
    return np.flatnonzero(speech[1:] != speech[:-1]).astype(np.int64).reshape(-1, 2)
