"""Exact segmentation by dynamic programming, minimising the squared distance of frames to segment means.

The cost of a segment is the sum of squared distances of its frames to their mean, plus a penalty per segment. Duration
limits keep the search in O(T s) for segments of up to s frames.
Source: Kamper 2023, Word segmentation on discovered phone units with dynamic programming (the duration penalty);
Baade et al. 2024, SyllableLM (segments of 3 to 35 frames).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import ConfigError, UserError
from speechkit.io.arrays import Float
from speechkit.runtime.compiled import compiled_reordering
from speechkit.syllables.segments import HOP_SECONDS, Boundaries, checked_features, frame_norms, speech_runs

BLOCK_FRAMES = 4096


@dataclass(frozen=True)
class DynamicSegmenter:
    """Exact segmentation with a duration penalty.

    Attributes:
        penalty: cost per segment, in units of squared norm; `penalty_for_rate` finds it from a syllable rate.
        shortest: minimum frames of a segment; shorter runs of speech are one segment.
        longest: maximum frames; at least ``2 * shortest - 1``, so that every run can be segmented.
        norm: frames with a smaller L2 norm are silence; None: all frames are speech.
        shortest_silence: minimum frames of silence; shorter ones, such as closures of stops, belong to the speech
            around them.

    Raises:
        ConfigError: if a value is out of range.
    """

    penalty: float
    shortest: int = 3
    longest: int = 35
    norm: float | None = None
    shortest_silence: int = 1

    def __post_init__(self) -> None:
        if not (np.isfinite(self.penalty) and self.penalty >= 0):
            raise ConfigError(f"penalty is {self.penalty}; give a finite number of at least 0")
        if self.shortest_silence < 1:
            raise ConfigError(f"shortest_silence is {self.shortest_silence} frames; give at least 1")
        if self.shortest < 1 or self.longest < 2 * self.shortest - 1:
            raise ConfigError(
                f"shortest is {self.shortest} and longest {self.longest} frames; shortest must be at least 1 and "
                f"longest at least 2 * shortest - 1, so that every run of speech can be segmented"
            )

    def segment(self, features: NDArray[np.floating[Any]]) -> Boundaries:
        """Segments (n, 2) of frames (T, D); needs 24 bytes per frame in addition to the frames.

        Raises:
            UserError: if the frames are not a matrix of finite numbers, with the first invalid frame.
        """
        table = checked_features(features)
        norms = frame_norms(table)
        parts = [np.empty((0, 2), np.int64)]
        for start, end in speech_runs(norms, self.norm, self.shortest_silence):
            parts.append(start + self._cut(table[start:end], norms[start:end]))
        return np.concatenate(parts)

    def _cut(self, run: NDArray[np.floating[Any]], norms: NDArray[np.float64]) -> Boundaries:
        length = len(run)
        if length < 2 * self.shortest:
            return np.array([[0, length]], np.int64)
        # Cost of the best segmentation of frames 0 to t, and the start of its last segment.
        best = np.full(length + 1, np.inf)
        best[0] = 0.0
        start = np.zeros(length + 1, np.int64)
        # Inner product of each of the last frames with the sum of the frames after it.
        inner_products = np.zeros(self.longest)
        recent = np.zeros((self.longest, run.shape[1]), np.float32)
        squares = norms * norms
        for begin in range(0, length, BLOCK_FRAMES):
            block = np.ascontiguousarray(run[begin : begin + BLOCK_FRAMES], np.float32)
            _extend(block, begin, squares, recent, inner_products, best, start, self.penalty, self.shortest)
        edges = [length]
        while edges[-1]:
            edges.append(int(start[edges[-1]]))
        path = np.array(edges[::-1], np.int64)
        return np.stack([path[:-1], path[1:]], axis=1)


@compiled_reordering
def _inner(left: Float, right: Float) -> float:
    total = 0.0
    for d in range(len(left)):
        total += np.float64(left[d]) * np.float64(right[d])
    return total


@compiled_reordering
def _extend(
    block: Float,
    begin: int,
    squares: NDArray[np.float64],
    recent: Float,
    inner_products: NDArray[np.float64],
    best: NDArray[np.float64],
    start: NDArray[np.int64],
    penalty: float,
    shortest: int,
) -> None:
    """Extend the best costs to all ends in ``block``, whose first frame is ``begin``.

    Shapes: block (n, D); squares (T,) of the frames' norms; recent (s, D) and inner_products (s,), ring buffers of the
    last s frames; best and start (T + 1,). The squared norm of the sum of segment [i, t] is that of [i + 1, t] plus
    frame i's squared norm plus twice its inner product with the frames after it, updated once per frame.
    """
    longest = len(recent)
    for row in range(len(block)):
        t = begin + row
        recent[t % longest] = block[row]
        inner_products[t % longest] = 0.0
        total, energy = 0.0, 0.0  # squared norm of the sum, and sum of squared norms
        for i in range(t, max(-1, t - longest), -1):
            slot = i % longest
            if i < t:
                inner_products[slot] += _inner(recent[slot], block[row])
            total += squares[i] + 2.0 * inner_products[slot]
            energy += squares[i]
            frames = t - i + 1
            if frames < shortest:
                continue
            cost = best[i] + max(energy - total / frames, 0.0) + penalty
            if cost < best[t + 1]:
                best[t + 1] = cost
                start[t + 1] = i


def penalty_for_rate(
    features: Sequence[NDArray[np.floating[Any]]],
    segments_per_second: float,
    *,
    shortest: int = 3,
    longest: int = 35,
    norm: float | None = None,
    shortest_silence: int = 1,
    steps: int = 24,
) -> float:
    """The penalty that gives a rate of segments nearest to ``segments_per_second``, by bisection.

    Args:
        features: (T, D) of each recording; a few minutes are enough.
        segments_per_second: target rate in speech; English has four to six syllables per second.
        shortest: as in `DynamicSegmenter`.
        longest: as in `DynamicSegmenter`.
        norm: as in `DynamicSegmenter`; silence is excluded from the rate.
        shortest_silence: as in `DynamicSegmenter`.
        steps: bisection steps; the rate falls as the penalty grows.

    Raises:
        UserError: if there is no speech.
    """
    runs = [(table, frame_norms(table)) for table in map(checked_features, features)]
    frames = sum(int(end - start) for _, norms in runs for start, end in speech_runs(norms, norm, shortest_silence))
    if not frames:
        raise UserError("there are no frames of speech to estimate a penalty from; lower the norm threshold")

    def rate(penalty: float) -> float:
        segmenter = DynamicSegmenter(penalty, shortest, longest, norm, shortest_silence)
        return sum(len(segmenter.segment(table)) for table, _ in runs) / (frames * HOP_SECONDS)

    high = longest * max(float((norms**2).max(initial=0.0)) for _, norms in runs) + 1e-12
    # Bisection on a log scale: penalties of different encoders differ by orders of magnitude.
    low = high * 1e-9
    for _ in range(steps):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if rate(middle) > segments_per_second else (low, middle)
    return float(np.sqrt(low * high))
