"""Greedy segmentation of frames as they arrive: each segment comes out once the one behind it has closed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.syllables.greedy import (
    LEFT_END,
    LEFT_START,
    NO_LIMIT,
    NOT_FINITE,
    OPEN_START,
    POSITION,
    GreedySegmenter,
    advance,
    close,
)
from speechkit.syllables.segments import Boundaries, Float, checked_features, not_finite


class GreedyStream:
    """Feed frames, get segments; how the frames are cut into pieces changes nothing.

    With refinement a segment is final once the next has closed or silence begins, without it once it has closed.
    Memory holds the frames of two segments.

    Args:
        segmenter: the settings.
    """

    def __init__(self, segmenter: GreedySegmenter) -> None:
        self._segmenter = segmenter
        self._longest = NO_LIMIT if segmenter.longest is None else segmenter.longest
        self._state = np.array([-1, -1, -1, 0, -1], np.int64)
        self._held: Float | None = None  # rows 0 to _rows are frames from _origin on
        self._rows = self._origin = 0
        self._sums = np.zeros((2, 0))
        self._ended = False

    def push(self, features: NDArray[np.floating[Any]]) -> Boundaries:
        """The segments (n, 2) that these further frames (t, D) made final, counted from the first frame of all.

        Raises:
            UserError: if they are not finite or of another width, or the stream has ended.
        """
        self._check_open()
        table = checked_features(features)
        if not len(table):
            return np.empty((0, 2), np.int64)
        return self._advance(self._hold(table), len(table))

    def push_whole(self, features: Float) -> Boundaries:
        """All frames of a recording at once, without a copy: `finish` comes next, and nothing else.

        Raises:
            UserError: as `push`.
        """
        self._check_open()
        self._held, self._rows = features, len(features)
        self._sums = np.zeros((2, features.shape[1]))
        return self._advance(features, len(features))

    def _advance(self, held: Float, new: int) -> Boundaries:
        found = np.empty((new + 2, 2), np.int64)
        s = self._segmenter
        end = self._origin + self._rows
        count = advance(
            held, self._origin, end, self._state, self._sums, s.norm, s.merge, self._longest, s.refine, found
        )
        if self._state[NOT_FINITE] >= 0:
            self._ended = True
            raise not_finite(int(self._state[NOT_FINITE]))
        final: Boundaries = found[:count].copy()
        return final

    def finish(self) -> Boundaries:
        """The last segments; the stream takes nothing more."""
        self._check_open()
        self._ended = True
        found, count = np.empty((2, 2), np.int64), 0
        state = self._state
        if self._held is not None and state[OPEN_START] >= 0:
            s, end = self._segmenter, int(state[POSITION])
            count = close(self._held, self._origin, end, state, self._sums, s.merge, self._longest, s.refine, found, 0)
        if state[LEFT_START] >= 0:
            found[count] = state[LEFT_START], state[LEFT_END]
            count += 1
        final: Boundaries = found[:count].copy()
        return final

    def _hold(self, table: NDArray[np.floating[Any]]) -> Float:
        """The frames that are still needed, and the new ones behind them; room doubles, so that moves stay few."""
        if self._held is None:
            self._held = np.empty((len(table), table.shape[1]), np.float32)
            self._sums = np.zeros((2, table.shape[1]))
        if table.shape[1] != self._held.shape[1]:
            raise UserError(f"frames have width {table.shape[1]}, those before had {self._held.shape[1]}")
        if self._rows + len(table) > len(self._held):
            state = self._state
            needed = [int(state[place]) for place in (LEFT_START, OPEN_START) if state[place] >= 0]
            begin = min([*needed, int(state[POSITION])]) - self._origin
            kept = self._held[begin : self._rows]
            if 2 * (len(kept) + len(table)) > len(self._held) and len(kept):
                room = np.empty((2 * (len(kept) + len(table)), table.shape[1]), np.float32)
            elif len(table) > len(self._held):
                room = np.empty((len(table), table.shape[1]), np.float32)
            else:
                room = self._held
            room[: len(kept)] = kept if room is not self._held else kept.copy()
            self._held, self._rows, self._origin = room, len(kept), self._origin + begin
        self._held[self._rows : self._rows + len(table)] = table
        self._rows += len(table)
        return self._held

    def _check_open(self) -> None:
        if self._ended:
            raise UserError("the stream of frames has ended; begin another")


def segment_stream(segmenter: GreedySegmenter, blocks: Iterable[NDArray[np.floating[Any]]]) -> Iterator[Boundaries]:
    """Segments of frames that arrive in blocks, as `Encoder.encode_long` gives them, in memory that does not grow."""
    stream = GreedyStream(segmenter)
    for block in blocks:
        yield stream.push(block)
    yield stream.finish()
