"""The compiled pass that merges a pair of tokens; numba is loaded with this module."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def count_marked(
    tokens: Any, marks: Any, length: int, sign: int, keys: Any, changes: Any, filled: int
) -> int:  # pragma: no cover - compiled
    """Add the pairs at and beside marked tokens to the changes; how many there are then."""
    begin = 0
    while begin < length:
        token = np.int64(tokens[begin])
        touched = marks[begin] != 0 or (begin > 0 and marks[begin - 1] != 0)
        end = begin + 1
        while end < length and tokens[end] == token:
            touched = touched or marks[end] != 0
            end += 1
        touched = touched or (end < length and marks[end] != 0)
        if token >= 0 and touched:
            if end - begin > 1:
                keys[filled], changes[filled] = token << 32 | token, sign * ((end - begin) // 2)
                filled += 1
            if end < length and tokens[end] >= 0 and (marks[end - 1] != 0 or marks[end] != 0):
                keys[filled], changes[filled] = token << 32 | np.int64(tokens[end]), sign
                filled += 1
        begin = end
    return filled


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def merge_pair(
    tokens: Any, marks: Any, length: int, first: int, second: int, token: int, keys: Any, changes: Any
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Merge in place; the new length, and how many changes of counts were written."""
    place = 0
    while place < length:
        if place + 1 < length and tokens[place] == first and tokens[place + 1] == second:
            marks[place] = marks[place + 1] = 1
            place += 2
        else:
            marks[place] = 0
            place += 1
    filled = count_marked(tokens, marks, length, -1, keys, changes, 0)
    place = kept = 0
    while place < length:
        merged = marks[place]
        tokens[kept] = token if merged else tokens[place]
        marks[kept] = merged
        place += 2 if merged else 1
        kept += 1
    return kept, count_marked(tokens, marks, kept, 1, keys, changes, filled)
