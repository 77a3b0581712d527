"""Nearest centroid of each frame, by matrix products over blocks of frames.

Notation used for array shapes: T frames, K centroids, D width.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.arrays import Float

BLOCK_BYTES = 4 << 20
"""Size of a block of scores, large enough to amortise reading all centroids per block."""
CHUNK = 64
"""Number of centroids per chunk of the two-step argmax: maximum first, then its index in the best chunk."""


def nearest(features: NDArray[np.floating[Any]], centroids: Float) -> NDArray[np.int32]:
    """Index of the nearest centroid by squared distance, the lower index in a tie: (T, D), (K, D) to (T,).

    ``|x - c|² = |x|² - 2 (x·c - |c|²/2)``, and the first term is the same for all centroids.

    Raises:
        UserError: if the widths differ.
    """
    return nearest_scores(features, centroids)[0]


def nearest_distances(
    features: NDArray[np.floating[Any]], centroids: Float
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The nearest centroids (T,) and the squared distances to them (T,)."""
    labels, scores = nearest_scores(features, centroids)
    rows = np.asarray(features, np.float32)
    return labels, np.maximum(np.einsum("td,td->t", rows, rows) - 2 * scores, 0).astype(np.float32)


def nearest_scores(
    features: NDArray[np.floating[Any]], centroids: Float
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The nearest centroids (T,) and ``x·c - |c|²/2`` of each (T,)."""
    if features.ndim != 2 or features.shape[1] != centroids.shape[1]:
        raise UserError(
            f"features of shape {features.shape} do not fit centroids of width {centroids.shape[1]}; "
            "use features of the codebook's encoder"
        )
    count, clusters = len(features), len(centroids)
    labels, best = np.empty(count, np.int32), np.empty(count, np.float32)
    halves = (0.5 * np.einsum("kd,kd->k", centroids, centroids)).astype(np.float32)
    transposed = np.ascontiguousarray(centroids.T, np.float32)
    block = max(64, BLOCK_BYTES // (4 * clusters))
    scores = np.empty((min(block, count), clusters), np.float32)
    pick = _row_argmax()
    for begin in range(0, count, block):
        rows = np.asarray(features[begin : begin + block], np.float32)
        part = np.matmul(rows, transposed, out=scores[: len(rows)])
        pick(part, halves, labels[begin : begin + block], best[begin : begin + block])
    return labels, best


@cache
def _row_argmax() -> Any:
    """A fused kernel for subtraction and argmax, which NumPy would do in three passes over the scores."""
    from numba import njit

    # Reassociation is exact here: features are finite, and a maximum does not round.
    @njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc"})  # type: ignore[untyped-decorator]
    def row_argmax(scores: Any, halves: Any, labels: Any, best: Any) -> None:
        clusters = scores.shape[1]
        for t in range(scores.shape[0]):
            row = scores[t]
            best_score, best_chunk = np.float32(-np.inf), 0
            for begin in range(0, clusters, CHUNK):
                chunk_max = np.float32(-np.inf)
                for k in range(begin, min(begin + CHUNK, clusters)):
                    chunk_max = max(chunk_max, row[k] - halves[k])
                if chunk_max > best_score:
                    best_score, best_chunk = chunk_max, begin
            label = best_chunk
            for k in range(best_chunk, min(best_chunk + CHUNK, clusters)):
                if row[k] - halves[k] == best_score:
                    label = k
                    break
            labels[t], best[t] = label, best_score

    return row_argmax
