"""The compiled edit distance between a word lattice and a sentence, with back-pointers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speechkit.runtime.compiled import compiled

MATCH, DELETE, INSERT = 0, 1, 2
FAR = 1 << 30


@compiled
def fill(
    words: NDArray[np.int32],
    first: NDArray[np.int32],
    before: NDArray[np.int32],
    slots: NDArray[np.int32],
    hypothesis: NDArray[np.int32],
    substitution: int,
    gap: int,
    rows: NDArray[np.int32],
    back: NDArray[np.uint8],
) -> None:
    """Fill ``back`` (nodes, M + 1): the step into each cell times 64 plus the ordinal of the predecessor.

    Shapes: words (nodes,), node 0 is the start and any node of word -1 consumes nothing; predecessors of node v are
    ``before[first[v]:first[v + 1]]``, all smaller than v; slots (nodes,) the row of ``rows`` that holds a node's costs;
    hypothesis (M,); rows (slots, M + 1).
    Ties: match or substitution, then deletion, then insertion; of several predecessors the first.
    """
    length = len(hypothesis)
    row = rows[slots[0]]
    for j in range(length + 1):
        row[j] = j * gap
        back[0, j] = INSERT * 64
    for v in range(1, len(words)):
        costs = rows[slots[v]]
        word = words[v]
        if word < 0:  # a junction: the best of its predecessors, at no cost
            for j in range(length + 1):
                best, step = FAR, 0
                for p in range(first[v], first[v + 1]):
                    cost = rows[slots[before[p]], j]
                    if cost < best:
                        best, step = cost, DELETE * 64 + p - first[v]
                costs[j] = best
                back[v, j] = step
            continue
        above = rows[slots[before[first[v]]]]
        left = above[0] + gap
        costs[0] = left
        back[v, 0] = DELETE * 64
        for j in range(1, length + 1):
            best = above[j - 1] + (0 if word == hypothesis[j - 1] else substitution)
            step = MATCH * 64
            if above[j] + gap < best:
                best, step = above[j] + gap, DELETE * 64
            if left + gap < best:
                best, step = left + gap, INSERT * 64
            costs[j] = best
            back[v, j] = step
            left = best
