"""Counts of adjacent token pairs in many sequences, updated incrementally by merges.

A merge is one compiled pass over all tokens; only pairs next to a merged position are recounted. A run of r equal
tokens has r // 2 mergeable pairs. Imports numba.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.runtime.compiled import compiled

Pair = tuple[int, int]
END = -1  # terminates every sequence
CHANGES = 12  # maximum number of count changes around a merged position


class PairCounts:
    """Token sequences with the counts of their adjacent pairs.

    Args:
        items: non-negative tokens of each sequence.

    Memory: 5 bytes per token, and an entry per distinct pair.
    """

    def __init__(self, items: Iterable[Sequence[int] | NDArray[np.integer[Any]]]) -> None:
        end = np.full(1, END, np.int32)
        parts = [part for units in items for part in (np.asarray(units, np.int32), end)]
        self._tokens = np.concatenate(parts) if parts else end
        self._marks = np.zeros(len(self._tokens), np.uint8)
        self._length = len(self._tokens)
        self._ends = len(parts) // 2
        self._counts = _first_counts(self._tokens)
        self._heap = [(-count, key) for key, count in self._counts.items()]
        heapq.heapify(self._heap)

    @property
    def num_tokens(self) -> int:
        """Number of tokens in all sequences."""
        return self._length - self._ends if self._ends else 0

    def most_frequent(self) -> tuple[Pair, int] | None:
        """The most frequent pair (the smallest in a tie) and its count; None without pairs."""
        while self._heap:
            count, key = self._heap[0]
            if self._counts.get(key) == -count:
                return (key >> 32, key & 0xFFFFFFFF), -count
            heapq.heappop(self._heap)  # outdated count
        return None

    def merge(self, pair: Pair, token: int) -> None:
        """Replace every occurrence of the pair by ``token``, from left to right."""
        room = CHANGES * self._counts.get(_key(pair), 0)
        keys, changes = np.empty(room, np.int64), np.empty(room, np.int64)
        self._length, filled = merge_pair(self._tokens, self._marks, self._length, *pair, token, keys, changes)
        changed_keys, indices = np.unique(keys[:filled], return_inverse=True)
        sums = np.zeros(len(changed_keys), np.int64)
        np.add.at(sums, indices, changes[:filled])
        for key, change in zip(changed_keys.tolist(), sums.tolist(), strict=True):
            if not change:
                continue
            count = self._counts.get(key, 0) + change
            if count:
                self._counts[key] = count
                heapq.heappush(self._heap, (-count, key))
            else:
                del self._counts[key]


def _key(pair: Pair) -> int:
    return pair[0] << 32 | pair[1]


def _first_counts(tokens: NDArray[np.int32]) -> dict[int, int]:
    begins = np.concatenate([[0], np.flatnonzero(np.diff(tokens)) + 1])
    lengths = np.diff(np.concatenate([begins, [len(tokens)]]))
    runs = tokens[begins].astype(np.int64)
    left, right = runs[:-1], runs[1:]
    inside = (left >= 0) & (right >= 0)
    keys, counts = np.unique(left[inside] << 32 | right[inside], return_counts=True)
    totals = dict(zip(keys.tolist(), counts.tolist(), strict=True))
    for token, length in zip(runs.tolist(), lengths.tolist(), strict=True):
        if token >= 0 and length > 1:
            key = _key((token, token))
            totals[key] = totals.get(key, 0) + length // 2
    return totals


@compiled
def count_marked(
    tokens: Any, marks: Any, length: int, sign: int, keys: Any, changes: Any, filled: int
) -> int:  # pragma: no cover - compiled
    """Append the pairs at and beside marked tokens to the changes; returns the new number of changes."""
    begin = 0
    while begin < length:
        token = np.int64(tokens[begin])
        affected = marks[begin] != 0 or (begin > 0 and marks[begin - 1] != 0)
        end = begin + 1
        while end < length and tokens[end] == token:
            affected = affected or marks[end] != 0
            end += 1
        affected = affected or (end < length and marks[end] != 0)
        if token >= 0 and affected:
            if end - begin > 1:
                keys[filled], changes[filled] = token << 32 | token, sign * ((end - begin) // 2)
                filled += 1
            if end < length and tokens[end] >= 0 and (marks[end - 1] != 0 or marks[end] != 0):
                keys[filled], changes[filled] = token << 32 | np.int64(tokens[end]), sign
                filled += 1
        begin = end
    return filled


@compiled
def merge_pair(
    tokens: Any, marks: Any, length: int, first: int, second: int, token: int, keys: Any, changes: Any
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Merge a pair in place; returns the new length and the number of count changes."""
    index = 0
    while index < length:
        if index + 1 < length and tokens[index] == first and tokens[index + 1] == second:
            marks[index] = marks[index + 1] = 1
            index += 2
        else:
            marks[index] = 0
            index += 1
    filled = count_marked(tokens, marks, length, -1, keys, changes, 0)
    index = kept = 0
    while index < length:
        merged = marks[index]
        tokens[kept] = token if merged else tokens[index]
        marks[kept] = merged
        index += 2 if merged else 1
        kept += 1
    return kept, count_marked(tokens, marks, kept, 1, keys, changes, filled)
