"""Dynamic time warping of segments under the angular distance of their frames, compiled.

Shapes: a segment is (n, D) float32; a zero frame stands at right angles to all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.runtime.compiled import compiled


@compiled
def _warp_all(costs: Float, edges: NDArray[np.int64], answers: NDArray[np.float64]) -> None:
    """Mean cost on the cheapest path through each block of columns.

    Shapes: costs (n, N); edges (K + 1,) first column of each block and the end of the last; answers (K,).
    A step goes one frame on in one segment or in both. Of equally cheap steps, the one in both comes first, then the
    one in the rows: the length of the path by which the sum is divided depends on it.
    """
    rows = costs.shape[0]
    for k in range(len(answers)):
        begin, width = edges[k], edges[k + 1] - edges[k]
        total = np.empty(width)
        steps = np.empty(width)
        total[0] = costs[0, begin]
        steps[0] = 1.0
        for j in range(1, width):
            total[j] = total[j - 1] + costs[0, begin + j]
            steps[j] = j + 1.0
        for i in range(1, rows):
            corner, corner_steps = total[0], steps[0]
            total[0] += costs[i, begin]
            steps[0] += 1.0
            for j in range(1, width):
                above, above_steps = total[j], steps[j]
                best, best_steps = corner, corner_steps
                if above < best:
                    best, best_steps = above, above_steps
                if total[j - 1] < best:
                    best, best_steps = total[j - 1], steps[j - 1]
                total[j] = best + costs[i, begin + j]
                steps[j] = best_steps + 1.0
                corner, corner_steps = above, above_steps
        answers[k] = total[width - 1] / steps[width - 1]


def angular_distances(a: Float, b: Float) -> Float:
    """Angles between unit frames a (n, D) and b (m, D) as shares of a half turn, 0 to 1: (n, m)."""
    cosine = np.clip(a @ b.T, -1.0, 1.0)
    return np.asarray(np.arccos(cosine) / np.float32(np.pi), np.float32)


def unit_frames(segment: NDArray[Any]) -> Float:
    """Frames (n, D) scaled to length 1; zero frames stay zero.

    Raises:
        UserError: if there is no frame, or a value is not finite.
    """
    frames = np.asarray(segment, np.float32)
    if frames.ndim != 2 or not len(frames):
        raise UserError(f"a segment has shape {frames.shape}; give (frames, D) with at least one frame")
    if not np.isfinite(frames).all():
        raise UserError("a segment holds NaN or infinity; fix the features or remove the segment")
    norms = np.linalg.norm(frames, axis=1, keepdims=True)
    return np.asarray(frames / np.maximum(norms, 1e-12), np.float32)


def dtw_distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Mean angular distance along the cheapest warping path of two segments (n, D) and (m, D), 0 to 1."""
    answer = np.empty(1)
    costs = angular_distances(unit_frames(a), unit_frames(b))
    _warp_all(costs, np.array([0, costs.shape[1]], np.int64), answer)
    return float(answer[0])


def distance_matrix(segments: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """`dtw_distance` between all pairs of K segments: (K, K), symmetric, the diagonal 0.

    Memory: the matrix, all frames once, and the distances of one segment to all frames.
    """
    count = len(segments)
    matrix = np.zeros((count, count), np.float32)
    if count < 2:
        return matrix
    ready = [unit_frames(segment) for segment in segments]
    edges = np.cumsum([0, *(len(segment) for segment in ready)]).astype(np.int64)
    frames = np.concatenate(ready)
    for i in range(count - 1):
        first = edges[i + 1]
        answers = np.empty(count - i - 1)
        costs = np.ascontiguousarray(angular_distances(ready[i], frames[first:]))
        _warp_all(costs, edges[i + 1 :] - first, answers)
        matrix[i, i + 1 :] = matrix[i + 1 :, i] = answers
    return matrix
