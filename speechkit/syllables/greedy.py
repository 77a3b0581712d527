"""Sylber's greedy segmentation: one pass over the frames by norm and cosine, then refinement of each boundary.

1. A frame is speech if its norm reaches a threshold. A segment starts at a frame of speech and is extended while the
   next frame has at least the cosine ``merge`` to the running mean. Silence ends it too.
2. Adjacent segments, from left to right, are merged if their means have at least the cosine ``merge``; else their
   boundary moves, between the middles of the two, to the position where the frames before it are most similar to the
   left mean and those after it to the right. Means are those of the current segments, moved or merged.

A boundary depends only on its two segments, so step 2 runs one segment behind step 1, and streaming gives the same
result as a whole recording.

The released implementation differs from this published rule in three ways, which ``compat`` reproduces. After adjacent
segments the first frame of a segment weighs as much in the running mean of step 1 as all frames since the last silence.
A boundary may move to the first frame of its left segment, which then disappears, but not to the last position of its
window. And the middle of the left segment is rounded up.
Source: Cho et al. 2024, Sylber: syllabic embedding representation of speech from raw audio.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import ConfigError, UserError
from speechkit.io.arrays import Float
from speechkit.runtime.compiled import compiled_reordering
from speechkit.syllables.segments import Boundaries, checked_features, not_finite_error

NO_LIMIT = 1 << 62
BLOCK_FRAMES = 256  # a block fits in the cache
LEFT_START, LEFT_END, OPEN_START, POSITION, NOT_FINITE, SPEECH_START = range(6)  # indices of the kernel's state
LEFT, OPEN, RUNNING = range(3)  # rows of the sums: left and open segment, and the running mean of ``compat``


@dataclass(frozen=True)
class GreedySegmenter:
    """Sylber's greedy segmentation.

    Attributes:
        norm: minimum L2 norm of a frame of speech; 2.6 for Sylber, other encoders need their own value.
        merge: minimum cosine within a segment, -1 to 1.
        refine: whether to merge segments and move boundaries (step 2).
        longest: maximum frames of a segment, which bounds the memory of a stream; None: no limit, as published.
        compat: reproduce the released implementation; segments that it leaves empty are dropped.

    Raises:
        ConfigError: if a value is out of range.
    """

    norm: float = 2.6
    merge: float = 0.8
    refine: bool = True
    longest: int | None = None
    compat: bool = False

    def __post_init__(self) -> None:
        if not np.isfinite(self.norm):
            raise ConfigError(f"norm is {self.norm}; give a finite threshold")
        if not -1 <= self.merge <= 1:
            raise ConfigError(f"merge is {self.merge}; give a cosine from -1 to 1")
        if self.longest is not None and self.longest < 1:
            raise ConfigError(f"longest is {self.longest}; give at least 1 frame, or none for no limit")
        if self.compat and not (self.refine and self.longest is None):
            raise ConfigError(
                "compat reproduces the released implementation, which refines and has no limit; leave both at defaults"
            )

    def segment(self, features: NDArray[np.floating[Any]]) -> Boundaries:
        """Segments (n, 2) of frames (T, D); a memory-mapped array is read once, in blocks.

        Raises:
            UserError: if the frames are not a matrix of finite numbers, with the first invalid frame.
        """
        table = checked_features(features)
        stream = GreedyStream(self)
        if table.dtype == np.float32 and table.flags.c_contiguous:
            return np.concatenate([stream.push_whole(np.asarray(table, np.float32)), stream.finish()])
        parts = [stream.push(table[begin : begin + BLOCK_FRAMES]) for begin in range(0, len(table), BLOCK_FRAMES)]
        return np.concatenate([*parts, stream.finish()])


class GreedyStream:
    """Streaming segmentation; the result does not depend on the chunks of frames.

    With refinement a segment is final when the next one ends or silence begins, without it when it ends itself. Memory
    is that of the frames of two segments.

    Args:
        segmenter: the settings.
    """

    def __init__(self, segmenter: GreedySegmenter) -> None:
        self._segmenter = segmenter
        self._longest = NO_LIMIT if segmenter.longest is None else segmenter.longest
        self._state = np.array([-1, -1, -1, 0, -1, -1], np.int64)
        self._held: Float | None = None  # rows 0 to _rows are the frames from _origin on
        self._rows = self._origin = 0
        self._sums = np.zeros((3, 0))
        self._ended = False

    def push(self, features: NDArray[np.floating[Any]]) -> Boundaries:
        """Add frames (t, D); returns the segments (n, 2) that became final, in frames of the whole stream.

        Raises:
            UserError: if the frames are not finite or of another width, or the stream has ended.
        """
        self._check_open()
        table = checked_features(features)
        if not len(table):
            return np.empty((0, 2), np.int64)
        return self._advance(self._hold(table), len(table))

    def push_whole(self, features: Float) -> Boundaries:
        """All frames of a recording at once, without a copy; only `finish` may follow.

        Raises:
            UserError: as `push`.
        """
        self._check_open()
        self._held, self._rows = features, len(features)
        self._sums = np.zeros((3, features.shape[1]))
        return self._advance(features, len(features))

    def _advance(self, held: Float, new: int) -> Boundaries:
        boundaries = np.empty((new + 2, 2), np.int64)
        settings = self._segmenter
        end = self._origin + self._rows
        count = _advance_frames(
            held,
            self._origin,
            end,
            self._state,
            self._sums,
            settings.norm,
            settings.merge,
            self._longest,
            settings.refine,
            settings.compat,
            boundaries,
        )
        if self._state[NOT_FINITE] >= 0:
            self._ended = True
            raise not_finite_error(int(self._state[NOT_FINITE]))
        final: Boundaries = boundaries[:count].copy()
        return final

    def finish(self) -> Boundaries:
        """The last segments; ends the stream."""
        self._check_open()
        self._ended = True
        boundaries, count = np.empty((2, 2), np.int64), 0
        state = self._state
        if self._held is not None and state[OPEN_START] >= 0:
            settings, end = self._segmenter, int(state[POSITION])
            count = _close(
                self._held,
                self._origin,
                end,
                state,
                self._sums,
                settings.merge,
                self._longest,
                settings.refine,
                settings.compat,
                boundaries,
                0,
            )
        if state[LEFT_START] >= 0:
            boundaries[count] = state[LEFT_START], state[LEFT_END]
            count += 1
        final: Boundaries = boundaries[:count].copy()
        return final

    def _hold(self, table: NDArray[np.floating[Any]]) -> Float:
        """Append frames to those still needed; the buffer grows by doubling."""
        if self._held is None:
            self._held = np.empty((len(table), table.shape[1]), np.float32)
            self._sums = np.zeros((3, table.shape[1]))
        if table.shape[1] != self._held.shape[1]:
            raise UserError(f"frames have width {table.shape[1]}, those before had {self._held.shape[1]}")
        if self._rows + len(table) > len(self._held):
            state = self._state
            needed = [int(state[field]) for field in (LEFT_START, OPEN_START) if state[field] >= 0]
            begin = min([*needed, int(state[POSITION])]) - self._origin
            kept = self._held[begin : self._rows]
            if 2 * (len(kept) + len(table)) > len(self._held) and len(kept):
                buffer = np.empty((2 * (len(kept) + len(table)), table.shape[1]), np.float32)
            elif len(table) > len(self._held):
                buffer = np.empty((len(table), table.shape[1]), np.float32)
            else:
                buffer = self._held
            buffer[: len(kept)] = kept if buffer is not self._held else kept.copy()
            self._held, self._rows, self._origin = buffer, len(kept), self._origin + begin
        self._held[self._rows : self._rows + len(table)] = table
        self._rows += len(table)
        return self._held

    def _check_open(self) -> None:
        if self._ended:
            raise UserError("the stream of frames has ended; start a new one")


def segment_stream(segmenter: GreedySegmenter, blocks: Iterable[NDArray[np.floating[Any]]]) -> Iterator[Boundaries]:
    """Final segments after each block of frames, in constant memory."""
    stream = GreedyStream(segmenter)
    for block in blocks:
        yield stream.push(block)
    yield stream.finish()


@compiled_reordering
def _dot(left: NDArray[np.float64], right: Float) -> float:
    """Inner product in double precision."""
    total = 0.0
    for d in range(len(left)):
        total += left[d] * np.float64(right[d])
    return total


@compiled_reordering
def _square(frame: Float) -> float:
    total = 0.0
    for d in range(len(frame)):
        total += np.float64(frame[d]) * np.float64(frame[d])
    return total


@compiled_reordering
def _cosine(product: float, left_square: float, right_square: float) -> float:
    scale = np.sqrt(left_square * right_square)
    return product / scale if scale > 0.0 else 0.0


@compiled_reordering
def _best_boundary(
    frames: Float,
    origin: int,
    left: int,
    middle: int,
    end: int,
    left_sum: NDArray[np.float64],
    right_sum: NDArray[np.float64],
    compat: bool,
) -> int:
    """Best boundary between [left, middle) and [middle, end), which keep at least a frame each; the first of ties.

    With ``compat`` the left segment may become empty, and the last position of the window is excluded.

    The objective is a sum over the window's frames; moving the boundary by one frame changes it by the frame's cosine
    to the left mean minus that to the right.
    """
    if compat:
        begin = middle - max(1, (middle - left) // 2)
        stop = middle + max(1, (end - middle) // 2) - 1
    else:
        begin = max((left + middle) // 2, left + 1)
        stop = min((middle + end) // 2, end - 1)
    left_square = (left_sum * left_sum).sum()
    right_square = (right_sum * right_sum).sum()
    best, best_gain, gain = begin, 0.0, 0.0
    for t in range(begin, stop):
        frame = frames[t - origin]
        square = _square(frame)
        gain += _cosine(_dot(left_sum, frame), left_square, square)
        gain -= _cosine(_dot(right_sum, frame), right_square, square)
        if gain > best_gain:
            best, best_gain = t + 1, gain
    return best


@compiled_reordering
def _add(total: NDArray[np.float64], frame: Float, sign: float) -> None:
    for d in range(len(total)):
        total[d] += sign * np.float64(frame[d])


@compiled_reordering
def _close(
    frames: Float,
    origin: int,
    end: int,
    state: NDArray[np.int64],
    sums: NDArray[np.float64],
    merge: float,
    longest: int,
    refine: bool,
    compat: bool,
    boundaries: Boundaries,
    count: int,
) -> int:
    """End the open segment before frame ``end``, and finalise its boundary with an adjacent left segment."""
    left, middle = state[LEFT_START], state[OPEN_START]
    state[OPEN_START] = -1
    if not refine:
        boundaries[count, 0], boundaries[count, 1] = middle, end
        return count + 1
    state[LEFT_END] = end
    if left < 0:
        state[LEFT_START] = middle
        sums[LEFT] = sums[OPEN]
        return count
    products = (sums[LEFT] * sums[OPEN]).sum(), (sums[LEFT] * sums[LEFT]).sum(), (sums[OPEN] * sums[OPEN]).sum()
    if _cosine(products[0], products[1], products[2]) >= merge and end - left <= longest:
        sums[LEFT] += sums[OPEN]
        return count
    boundary = _best_boundary(frames, origin, left, middle, end, sums[LEFT], sums[OPEN], compat)
    boundaries[count, 0], boundaries[count, 1] = left, boundary
    sums[LEFT] = sums[OPEN]
    for t in range(boundary, middle):
        _add(sums[LEFT], frames[t - origin], 1.0)
    for t in range(middle, boundary):
        _add(sums[LEFT], frames[t - origin], -1.0)
    state[LEFT_START] = boundary
    return count + 1 if boundary > left else count


@compiled_reordering
def _advance_frames(
    frames: Float,
    origin: int,
    end: int,
    state: NDArray[np.int64],
    sums: NDArray[np.float64],
    norm: float,
    merge: float,
    longest: int,
    refine: bool,
    compat: bool,
    boundaries: Boundaries,
) -> int:
    """Process frames up to ``end``; returns the number of segments that became final.

    Shapes: frames (held, D), the first being frame ``origin``; state (6,): start and end of the left segment, whose
    right boundary is not final, start of the open segment, next frame to process, first non-finite frame, first frame
    since silence (-1 for none); sums (3, D) of the left and the open segment, and of the open one with the weight of
    its first frame for ``compat``; boundaries (2 + new frames, 2), the output.
    """
    count = 0
    running = sums[RUNNING] if compat else sums[OPEN]
    running_square = (running * running).sum()
    for t in range(state[POSITION], end):
        frame = frames[t - origin]
        square = _square(frame)
        if not np.isfinite(square):
            state[NOT_FINITE] = t
            return count
        speech = np.sqrt(square) >= norm
        if state[OPEN_START] >= 0:
            if speech and t - state[OPEN_START] < longest:
                product = _dot(running, frame)
                if _cosine(product, running_square, square) >= merge:
                    _add(sums[OPEN], frame, 1.0)
                    if compat:
                        _add(running, frame, 1.0)
                    running_square += 2.0 * product + square
                    continue
            count = _close(frames, origin, t, state, sums, merge, longest, refine, compat, boundaries, count)
        if speech:
            if state[SPEECH_START] < 0:
                state[SPEECH_START] = t
            weight = np.float64(t - state[SPEECH_START] + 1)
            state[OPEN_START] = t
            for d in range(len(frame)):
                sums[OPEN, d] = frame[d]
                sums[RUNNING, d] = weight * np.float64(frame[d])
            running_square = weight * weight * square if compat else square
        else:
            state[SPEECH_START] = -1
            if state[LEFT_START] >= 0:
                boundaries[count, 0], boundaries[count, 1] = state[LEFT_START], state[LEFT_END]
                state[LEFT_START] = -1
                count += 1
    state[POSITION] = end
    return count
