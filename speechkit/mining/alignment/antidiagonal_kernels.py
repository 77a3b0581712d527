"""Compiled Gotoh alignment with whole-number scores, along antidiagonals, whose cells do not depend on one another.

Notation: ``a`` (n,) and ``b`` (m,) are the coded sequences. A path is in one of three states: pair, gap over ``a``, gap
over ``b``. Ties are broken as in `affine_kernels`: a pair goes before a gap over ``a``, that before a gap over ``b``,
and a longer gap before a new one.

A state is one int64: its score from bit 30 up, two bits of rank that decide ties, and 28 bits of origin: twice the
column where its path left the last row that is remembered, plus one if it left inside a gap over ``a``. The larger
number is the better path, so that a cell is a few sums and maxima, which the compiler turns into vectors.

Source: Gotoh 1982; Wozniak 1997 for the antidiagonals.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from speechkit.runtime.compiled import compiled

SCORE_BIT = 30
LARGEST_SCORE = 1 << 31  # of a whole alignment, on either side of zero
LARGEST_COLUMNS = 1 << 27

_RANK_BIT = 28
_NEVER = -(1 << 62)
_STRIP_ROWS = 512  # what belongs to them stays in the nearest cache
_ROOM = _STRIP_ROWS + 8
_GAP_A, _GAP_B = 2 * _ROOM, 3 * _ROOM


def _antidiagonal(this: int, last: int, tabled: bool) -> Callable[..., None]:
    """The cells of one antidiagonal; ``this`` and ``last`` say which half of the buffer holds it and the one before.

    One buffer at distances known beforehand: the compiler need not ask whether arrays overlap, and makes vectors.
    """
    this_at, last_at, gap_a_at, gap_b_at = np.uint64(this), np.uint64(last), np.uint64(_GAP_A), np.uint64(_GAP_B)
    one = np.uint64(1)
    rank_b, rank_a = np.int64(1 << _RANK_BIT), np.int64(2 << _RANK_BIT)
    unranked = ~np.int64(3 << _RANK_BIT)

    @compiled
    def cells(
        buffer: NDArray[np.int64],
        a: NDArray[np.int32],
        b: NDArray[np.int32],
        begin: np.uint64,
        end: np.uint64,
        shift: np.uint64,
        table: NDArray[np.int64],
        size: int,
        match: int,
        gap_open: int,
        gap_extend: int,
    ) -> None:
        for k in range(begin, end):
            gap_a = (max(buffer[gap_a_at + k + one], buffer[last_at + k + one] + gap_open) | rank_a) + gap_extend
            gap_b = (max(buffer[gap_b_at + k], buffer[last_at + k] + gap_open) | rank_b) + gap_extend
            x, y = a[k], b[shift + k]
            if tabled:
                pair = table[np.uint64(min(x, size) * (size + 1) + min(y, size))]
                pair = match if x == y and x >= size else pair
            else:
                pair = match if x == y else table[0]
            value = max(max(buffer[this_at + k + one] + pair, gap_a), gap_b) & unranked
            buffer[this_at + k] = value
            buffer[gap_a_at + k] = gap_a
            buffer[gap_b_at + k] = gap_b

    return cells


_even, _odd = _antidiagonal(0, _ROOM, False), _antidiagonal(_ROOM, 0, False)
_even_tabled, _odd_tabled = _antidiagonal(0, _ROOM, True), _antidiagonal(_ROOM, 0, True)


@compiled
def _strip(
    buffer: NDArray[np.int64],
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    table: NDArray[np.int64],
    size: int,
    match: int,
    gap_open: int,
    gap_extend: int,
    best: NDArray[np.int64],
    gap_a: NDArray[np.int64],
) -> None:
    """Carry ``best`` and ``gap_a`` (m + 1,) from one row to the ``len(a)``-th below it; ``a`` is given backwards.

    Cell (i, j) of antidiagonal d = i + j stands in the buffer at len(a) - i.
    """
    rows, columns = len(a), len(b)
    rank_a = np.int64(2 << _RANK_BIT)
    this, last = 0, _ROOM
    buffer[last + rows] = best[0]
    buffer[_GAP_A + rows] = gap_a[0]
    for d in range(1, rows + columns + 1):
        if d <= rows:  # the first column, which only a gap over a reaches
            k = rows - d
            over = (max(buffer[_GAP_A + k + 1], buffer[last + k + 1] + gap_open) | rank_a) + gap_extend
            buffer[this + k] = over - rank_a
            buffer[_GAP_A + k] = over
            buffer[_GAP_B + k] = _NEVER
        begin, end = np.uint64(max(rows - d + 1, 0)), np.uint64(min(rows, rows - d + columns + 1))
        shift = np.uint64(d - rows - 1)
        if size > 0:
            if this == 0:
                _even_tabled(buffer, a, b, begin, end, shift, table, size, match, gap_open, gap_extend)
            else:
                _odd_tabled(buffer, a, b, begin, end, shift, table, size, match, gap_open, gap_extend)
        elif this == 0:
            _even(buffer, a, b, begin, end, shift, table, size, match, gap_open, gap_extend)
        else:
            _odd(buffer, a, b, begin, end, shift, table, size, match, gap_open, gap_extend)
        if d <= columns:
            buffer[this + rows] = best[d]
            buffer[_GAP_A + rows] = gap_a[d]
        if d >= rows:
            best[d - rows] = buffer[this]
            gap_a[d - rows] = buffer[_GAP_A]
        this, last = last, this


@compiled
def crossings(
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    table: NDArray[np.int64],
    size: int,
    match: int,
    gap_open: int,
    gap_extend: int,
    start_state: int,
    end_state: int,
    interval: int,
) -> NDArray[np.int64]:
    """Where the best path leaves every ``interval``-th row: (rows remembered, 3) of row, column and state, in order.

    Shapes: a (n,), b (m,) int32 codes; table ((size + 1) ** 2,) int64 scores of pairs of codes below ``size``, and of
    unequal codes in its last row and column. ``match`` is the score of equal codes from ``size`` on. ``start_state``
    and ``end_state`` are 0, or 1 where the path begins or ends inside a gap over ``a``, as are the states returned.
    Memory: 8 bytes a column and row remembered.
    """
    rows, columns = len(a), len(b)
    table = (table << SCORE_BIT) + (3 << _RANK_BIT)
    match = (match << SCORE_BIT) + (3 << _RANK_BIT)
    gap_open, gap_extend = gap_open << SCORE_BIT, gap_extend << SCORE_BIT
    best = np.full(columns + 1, _NEVER)
    gap_a = np.full(columns + 1, _NEVER)
    if start_state == 0:
        best[0] = 0
    else:
        gap_a[0] = np.int64(2 << _RANK_BIT)
    gap_b = _NEVER
    for j in range(1, columns + 1):
        gap_b = max(gap_b, best[j - 1] + gap_open) + gap_extend
        best[j] = gap_b
    buffer = np.empty(4 * _ROOM, np.int64)
    backwards = a[::-1].copy()
    remembered = (rows - 1) // interval
    left_best = np.empty((remembered, columns + 1), np.int32)
    left_gap = np.empty((remembered, columns + 1), np.int32)
    origin = np.int64((1 << _RANK_BIT) - 1)
    rank_a = np.int64(2 << _RANK_BIT)
    for index in range(remembered + 1):
        row, last_row = index * interval, min(rows, (index + 1) * interval)
        while row < last_row:
            height = min(_STRIP_ROWS, last_row - row)
            part = backwards[rows - row - height : rows - row]
            _strip(buffer, part, b, table, size, match, gap_open, gap_extend, best, gap_a)
            row += height
        if index < remembered:
            for j in range(columns + 1):
                left_best[index, j] = best[j] & origin
                left_gap[index, j] = gap_a[j] & origin
                best[j] = (best[j] & ~origin) | (2 * j)
                gap_a[j] = (gap_a[j] & ~origin) | rank_a | (2 * j + 1)
    cuts = np.empty((remembered, 3), np.int64)
    left = (gap_a[columns] if end_state == 1 else best[columns]) & origin
    for index in range(remembered - 1, -1, -1):
        column, state = left >> 1, left & 1
        cuts[index] = ((index + 1) * interval, column, state)
        left = np.int64(left_gap[index, column] if state == 1 else left_best[index, column])
    return cuts
