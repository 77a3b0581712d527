"""Compiled kernels for alignment with two-piece affine gaps; :mod:`.reference` holds the plain versions.

Notation: ``a`` (n,) are the document's symbols, ``b`` (m,) the hypothesis's. Scores are maximised. A path is in one of
five states: match (0), short gap that consumes ``a`` (1), long gap that consumes ``a`` (2), and the same two for
``b`` (3, 4). A short gap pays for every symbol; a long gap pays once, more away from sentence boundaries of ``a``,
and then next to nothing a symbol: unread text and untranscribed speech are long gaps.

Symbols below ``len(table)`` score by the table, others ``match`` or ``mismatch``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speechkit.runtime.compiled import compiled

NEGATIVE = -1e30


@compiled
def align_with_trace(
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    table: NDArray[np.float64],
    match: float,
    mismatch: float,
    delete: NDArray[np.float64],
    insert: NDArray[np.float64],
    short_open: float,
    long_open_a: NDArray[np.float64],
    long_close_a: NDArray[np.float64],
    long_open_b: NDArray[np.float64],
    long_extend: float,
    start_state: int,
    end_state: int,
    trace: NDArray[np.uint8],
) -> tuple[float, NDArray[np.uint8]]:
    """Fill the matrix, keep one byte a cell in ``trace`` ((n + 1) * (m + 1), uint8) and walk back.

    ``delete`` (n,) and ``insert`` (m,) are the scores of a symbol in a short gap; ``long_open_a`` (n + 1,) and
    ``long_close_a`` (n + 1,) the scores of starting and ending a long gap over ``a`` at a position of ``a``;
    ``long_open_b`` (n + 1,) of a long gap over ``b`` that stands at a position of ``a``. ``start_state`` and
    ``end_state`` (0 none, 1 or 2 inside that gap) join pieces of a divided problem.

    Returns:
        The score and the operations (uint8): 0 pair, 1 ``a`` alone, 2 ``b`` alone; plus 2 if inside a long gap.
    """
    n, m = len(a), len(b)
    special = len(table)
    width = m + 1
    best = np.empty(m + 1)
    short_a = np.full(m + 1, NEGATIVE)
    long_a = np.full(m + 1, NEGATIVE)
    for i in range(n + 1):
        short_b = NEGATIVE
        long_b = NEGATIVE
        diagonal = NEGATIVE
        a_open = long_open_a[i - 1] if i > 0 else 0.0
        a_close = long_close_a[i]
        b_open = long_open_b[i]
        symbol = a[i - 1] if i > 0 else 0
        a_score = delete[i - 1] if i > 0 else 0.0
        base = i * width
        for j in range(m + 1):
            code = 0
            if i == 0:
                if j == 0:
                    value = 0.0 if start_state == 0 else NEGATIVE
                    if start_state == 1:
                        short_a[0] = 0.0
                        value = NEGATIVE
                    elif start_state == 2:
                        long_a[0] = 0.0
                        value = NEGATIVE
                    best[0] = value
                    trace[0] = 0
                    continue
                value = NEGATIVE
            else:
                above = best[j]
                opened = above + short_open
                if short_a[j] >= opened:
                    short_a[j] += a_score
                    code |= 8
                else:
                    short_a[j] = opened + a_score
                opened = above + a_open
                if long_a[j] >= opened:
                    long_a[j] += long_extend
                    code |= 16
                else:
                    long_a[j] = opened + long_extend
                value = NEGATIVE
                if j > 0:
                    other = b[j - 1]
                    if symbol < special and other < special:
                        value = diagonal + table[symbol, other]
                    elif symbol == other:
                        value = diagonal + match
                    else:
                        value = diagonal + mismatch
                if short_a[j] > value:
                    value = short_a[j]
                    code = (code & ~7) | 1
                if long_a[j] + a_close > value:
                    value = long_a[j] + a_close
                    code = (code & ~7) | 2
                diagonal = above
            if j > 0:
                left = best[j - 1]
                opened = left + short_open
                if short_b >= opened:
                    short_b += insert[j - 1]
                    code |= 32
                else:
                    short_b = opened + insert[j - 1]
                opened = left + b_open
                if long_b >= opened:
                    long_b += long_extend
                    code |= 64
                else:
                    long_b = opened + long_extend
                if short_b > value:
                    value = short_b
                    code = (code & ~7) | 3
                if long_b > value:
                    value = long_b
                    code = (code & ~7) | 4
            best[j] = value
            trace[base + j] = code
    score = best[m]
    if end_state == 1:
        score = short_a[m]
    elif end_state == 2:
        score = long_a[m]
    operations = np.empty(n + m, np.uint8)
    count = 0
    i, j, state = n, m, end_state
    while i > 0 or j > 0:
        code = trace[i * width + j]
        if state == 0:
            state = code & 7
        if state == 0:
            operations[count] = 0
            i -= 1
            j -= 1
        elif state <= 2:
            operations[count] = 1 if state == 1 else 3
            if (code & (8 if state == 1 else 16)) == 0:
                state = 0
            i -= 1
        else:
            operations[count] = 2 if state == 3 else 4
            if (code & (32 if state == 3 else 64)) == 0:
                state = 0
            j -= 1
        count += 1
    return score, operations[:count][::-1].copy()


@compiled
def crossing_of_row(
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    table: NDArray[np.float64],
    match: float,
    mismatch: float,
    delete: NDArray[np.float64],
    insert: NDArray[np.float64],
    short_open: float,
    long_open_a: NDArray[np.float64],
    long_close_a: NDArray[np.float64],
    long_open_b: NDArray[np.float64],
    long_extend: float,
    start_state: int,
    end_state: int,
    row: int,
) -> tuple[float, int, int]:
    """Where the best path leaves ``row`` of the matrix: (score, column, state), in memory linear in m.

    Every state carries the column and state in which its path left the row, so one forward pass suffices.
    Source: Hirschberg 1975; Myers and Miller 1988 for the affine gaps that cross the row.
    """
    n, m = len(a), len(b)
    special = len(table)
    best = np.empty(m + 1)
    short_a = np.full(m + 1, NEGATIVE)
    long_a = np.full(m + 1, NEGATIVE)
    from_best = np.zeros(m + 1, np.int64)
    from_short = np.zeros(m + 1, np.int64)
    from_long = np.zeros(m + 1, np.int64)
    for i in range(n + 1):
        short_b = NEGATIVE
        long_b = NEGATIVE
        from_short_b = np.int64(0)
        from_long_b = np.int64(0)
        diagonal = NEGATIVE
        from_diagonal = np.int64(0)
        a_open = long_open_a[i - 1] if i > 0 else 0.0
        a_close = long_close_a[i]
        b_open = long_open_b[i]
        symbol = a[i - 1] if i > 0 else 0
        a_score = delete[i - 1] if i > 0 else 0.0
        for j in range(m + 1):
            origin = np.int64(0)
            if i == 0:
                if j == 0:
                    value = NEGATIVE
                    if start_state == 0:
                        value = 0.0
                    elif start_state == 1:
                        short_a[0] = 0.0
                    else:
                        long_a[0] = 0.0
                    best[0] = value
                    continue
                value = NEGATIVE
            else:
                above = best[j]
                from_above = from_best[j]
                opened = above + short_open
                if short_a[j] >= opened:
                    short_a[j] += a_score
                else:
                    short_a[j] = opened + a_score
                    from_short[j] = from_above
                opened = above + a_open
                if long_a[j] >= opened:
                    long_a[j] += long_extend
                else:
                    long_a[j] = opened + long_extend
                    from_long[j] = from_above
                value = NEGATIVE
                if j > 0:
                    other = b[j - 1]
                    origin = from_diagonal
                    if symbol < special and other < special:
                        value = diagonal + table[symbol, other]
                    elif symbol == other:
                        value = diagonal + match
                    else:
                        value = diagonal + mismatch
                if short_a[j] > value:
                    value = short_a[j]
                    origin = from_short[j]
                if long_a[j] + a_close > value:
                    value = long_a[j] + a_close
                    origin = from_long[j]
                diagonal = above
                from_diagonal = from_above
            if j > 0:
                left = best[j - 1]
                opened = left + short_open
                if short_b >= opened:
                    short_b += insert[j - 1]
                else:
                    short_b = opened + insert[j - 1]
                    from_short_b = from_best[j - 1]
                opened = left + b_open
                if long_b >= opened:
                    long_b += long_extend
                else:
                    long_b = opened + long_extend
                    from_long_b = from_best[j - 1]
                if short_b > value:
                    value = short_b
                    origin = from_short_b
                if long_b > value:
                    value = long_b
                    origin = from_long_b
            best[j] = value
            from_best[j] = origin
        if i == row:
            for j in range(m + 1):
                from_best[j] = j * 3
                from_short[j] = j * 3 + 1
                from_long[j] = j * 3 + 2
    if end_state == 1:
        return short_a[m], from_short[m] // 3, from_short[m] % 3
    if end_state == 2:
        return long_a[m], from_long[m] // 3, from_long[m] % 3
    return best[m], from_best[m] // 3, from_best[m] % 3


@compiled
def infix_scores(
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    table: NDArray[np.float64],
    match: float,
    mismatch: float,
    delete: NDArray[np.float64],
    insert: NDArray[np.float64],
    short_open: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Best place of all of ``a`` inside ``b`` for every end column, with short gaps only.

    Returns:
        ``scores`` (m + 1,) of the best alignment of ``a`` that ends before column j, and ``begins`` (m + 1,) where
        that alignment begins: ``b[begins[j]:j]``.
    """
    n, m = len(a), len(b)
    special = len(table)
    best = np.zeros(m + 1)
    gap = np.full(m + 1, NEGATIVE)
    begins = np.arange(m + 1)
    gap_begins = np.zeros(m + 1, np.int64)
    for i in range(1, n + 1):
        symbol = a[i - 1]
        a_score = delete[i - 1]
        diagonal = best[0]
        from_diagonal = begins[0]
        opened = best[0] + short_open
        if gap[0] >= opened:
            gap[0] += a_score
        else:
            gap[0] = opened + a_score
            gap_begins[0] = begins[0]
        best[0] = gap[0]
        begins[0] = gap_begins[0]
        row_gap = NEGATIVE
        row_begin = np.int64(0)
        for j in range(1, m + 1):
            above = best[j]
            from_above = begins[j]
            opened = above + short_open
            if gap[j] >= opened:
                gap[j] += a_score
            else:
                gap[j] = opened + a_score
                gap_begins[j] = from_above
            opened = best[j - 1] + short_open
            if row_gap >= opened:
                row_gap += insert[j - 1]
            else:
                row_gap = opened + insert[j - 1]
                row_begin = begins[j - 1]
            other = b[j - 1]
            if symbol < special and other < special:
                value = diagonal + table[symbol, other]
            elif symbol == other:
                value = diagonal + match
            else:
                value = diagonal + mismatch
            origin = from_diagonal
            if gap[j] > value:
                value = gap[j]
                origin = gap_begins[j]
            if row_gap > value:
                value = row_gap
                origin = row_begin
            diagonal = above
            from_diagonal = from_above
            best[j] = value
            begins[j] = origin
    return best, begins
