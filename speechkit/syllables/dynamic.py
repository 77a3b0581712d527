"""Exact dynamic programming segmentation that minimises the squared distance to segment means.

The cost of a segment is the sum of squared distances of its frames to their mean, plus a penalty; penalties make few
segments cheap, and the limits of duration keep the search in O(T s) for segments of up to s frames.
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
from speechkit.syllables.segments import HOP_SECONDS, Boundaries, checked_features, frame_norms, runs_of_speech

BLOCK_FRAMES = 4096


@dataclass(frozen=True)
class DynamicSegmenter:
    """Exact segmentation with a duration penalty.

    Attributes:
        penalty: of one more segment, in units of squared norm; `penalty_for_rate` finds it from a syllable rate.
        shortest: frames; a stretch of speech that is shorter is one segment as it is.
        longest: frames; at least ``2 * shortest - 1``, so that every stretch can be cut.
        norm: a frame of less than this L2 norm is silence; None: all is speech.

    Raises:
        ConfigError: if a value is out of range.
    """

    penalty: float
    shortest: int = 3
    longest: int = 35
    norm: float | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.penalty) and self.penalty >= 0):
            raise ConfigError(f"penalty is {self.penalty}; give a finite number of at least 0")
        if self.shortest < 1 or self.longest < 2 * self.shortest - 1:
            raise ConfigError(
                f"shortest is {self.shortest} and longest {self.longest} frames; shortest must be at least 1 and "
                f"longest at least 2 * shortest - 1, so that every stretch can be cut"
            )

    def segment(self, features: NDArray[np.floating[Any]]) -> Boundaries:
        """Segments (n, 2) of frames (T, D); besides the frames, memory holds 24 bytes a frame.

        Raises:
            UserError: if the frames are no table of finite numbers, with the first frame that is not.
        """
        table = checked_features(features)
        norms = frame_norms(table)
        parts = [np.empty((0, 2), np.int64)]
        for start, end in runs_of_speech(norms, self.norm):
            parts.append(start + self._cut(table[start:end], norms[start:end]))
        return np.concatenate(parts)

    def _cut(self, run: NDArray[np.floating[Any]], norms: NDArray[np.float64]) -> Boundaries:
        length = len(run)
        if length < 2 * self.shortest:
            return np.array([[0, length]], np.int64)
        # The cost of the best way to cut frames 0 to t, and where its last segment starts.
        best = np.full(length + 1, np.inf)
        best[0] = 0.0
        start = np.zeros(length + 1, np.int64)
        # For the last frames i before t: frame i's inner product with the sum of those behind it.
        later = np.zeros(self.longest)
        recent = np.zeros((self.longest, run.shape[1]), np.float32)
        squares = norms * norms
        for begin in range(0, length, BLOCK_FRAMES):
            block = np.ascontiguousarray(run[begin : begin + BLOCK_FRAMES], np.float32)
            _extend(block, begin, squares, recent, later, best, start, self.penalty, self.shortest)
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
    later: NDArray[np.float64],
    best: NDArray[np.float64],
    start: NDArray[np.int64],
    penalty: float,
    shortest: int,
) -> None:
    """Best costs of all ends in ``block``, whose first frame is ``begin``.

    Shapes: block (n, D); squares (T,) of the frames' norms; recent (s, D) and later (s,) rings of the last s frames;
    best and start (T + 1,). For a segment [i, t], the squared norm of its sum grows from [i + 1, t]'s by frame i's own
    square and twice its inner product with the frames behind it, which grows by one inner product a frame.
    """
    longest = len(recent)
    for row in range(len(block)):
        t = begin + row
        recent[t % longest] = block[row]
        later[t % longest] = 0.0
        total, energy = 0.0, 0.0  # squared norm of the sum, and sum of squared norms
        for i in range(t, max(-1, t - longest), -1):
            place = i % longest
            if i < t:
                later[place] += _inner(recent[place], block[row])
            total += squares[i] + 2.0 * later[place]
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
    steps: int = 24,
) -> float:
    """The penalty at which the rate of segments in these recordings' speech is nearest to a given one.

    Args:
        features: (T, D) of some recordings; a few minutes are enough.
        segments_per_second: of speech; English has four to six syllables a second.
        shortest: as in `DynamicSegmenter`.
        longest: as in `DynamicSegmenter`.
        norm: as in `DynamicSegmenter`; silence does not count.
        steps: of bisection; the rate falls as the penalty grows.

    Raises:
        UserError: if there is no speech.
    """
    runs = [(table, frame_norms(table)) for table in map(checked_features, features)]
    frames = sum(int(end - start) for _, norms in runs for start, end in runs_of_speech(norms, norm))
    if not frames:
        raise UserError("there is no frame of speech to estimate a penalty from; lower the norm threshold")

    def rate(penalty: float) -> float:
        segmenter = DynamicSegmenter(penalty, shortest, longest, norm)
        return sum(len(segmenter.segment(table)) for table, _ in runs) / (frames * HOP_SECONDS)

    high = longest * max(float((norms**2).max(initial=0.0)) for _, norms in runs) + 1e-12
    # Halving in the logarithm as soon as there is a lower end: penalties of encoders differ by orders of magnitude.
    low = high * 1e-9
    for _ in range(steps):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if rate(middle) > segments_per_second else (low, middle)
    return float(np.sqrt(low * high))
