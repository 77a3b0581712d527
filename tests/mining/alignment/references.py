"""The alignments in plain Python, as their definitions read: slow, and what the compiled kernels are tested against."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

NEVER = float("-inf")


def best_score(
    a: Sequence[Hashable],
    b: Sequence[Hashable],
    score: Callable[[Hashable, Hashable], float],
    gap_open: float,
    gap_extend: float,
) -> float:
    """Score of the best global alignment with affine gaps: a gap of n items earns gap_open + n * gap_extend.

    Source: Gotoh 1982, by recursion over the last step.
    """

    @cache
    def best(i: int, j: int, last: int) -> float:
        if i == 0 and j == 0:
            return 0.0 if last == 0 else NEVER
        if last == 0:
            options = [best(i - 1, j - 1, before) for before in range(3)] if i and j else [NEVER]
            return max(options) + (score(a[i - 1], b[j - 1]) if i and j else 0.0)
        i_before, j_before = (i - 1, j) if last == 1 else (i, j - 1)
        if i_before < 0 or j_before < 0:
            return NEVER
        opened = max(best(i_before, j_before, before) for before in range(3) if before != last) + gap_open
        return max(opened, best(i_before, j_before, last)) + gap_extend

    return max(best(len(a), len(b), last) for last in range(3))


def two_piece_matrix(
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    table: NDArray[np.float64],
    delete: NDArray[np.float64],
    insert: NDArray[np.float64],
    short_open: float,
    long_open_a: NDArray[np.float64],
    long_close_a: NDArray[np.float64],
    long_open_b: NDArray[np.float64],
    long_extend: float,
) -> float:
    """Score of the best alignment with short and long gaps; arguments as in the compiled ``align_with_trace``.

    The long gaps are written out as every possible length instead of as states: O(n m (n + m)).
    """
    n, m = len(a), len(b)
    best = np.full((n + 1, m + 1), NEVER)
    best[0, 0] = 0.0
    for i in range(n + 1):
        for j in range(m + 1):
            options = [best[i, j]]
            if i and j:
                options.append(best[i - 1, j - 1] + table[a[i - 1], b[j - 1]])
            for begin in range(i):
                options.append(best[begin, j] + short_open + delete[begin:i].sum())
                options.append(best[begin, j] + long_open_a[begin] + (i - begin) * long_extend + long_close_a[i])
            for begin in range(j):
                options.append(best[i, begin] + short_open + insert[begin:j].sum())
                options.append(best[i, begin] + long_open_b[i] + (j - begin) * long_extend)
            best[i, j] = max(options)
    return float(best[n, m])


def infix_score(
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    table: NDArray[np.float64],
    delete: NDArray[np.float64],
    insert: NDArray[np.float64],
    short_open: float,
) -> float:
    """Score of the best place of all of ``a`` in ``b``: the best over every stretch of ``b``, aligned globally."""
    never_a, never_b = np.full(len(a) + 1, -1e9), np.full(len(a) + 1, -1e9)
    scores = [
        two_piece_matrix(a, b[begin:end], table, delete, insert[begin:end], short_open, never_a, never_a, never_b, -1e9)
        for begin in range(len(b) + 1)
        for end in range(begin, len(b) + 1)
    ]
    return max(scores)


def best_chain_score(pairs: Sequence[tuple[int, int]], k: int, jump: float) -> float:
    """Score of the best chain of anchors, comparing all pairs: O(p ** 2)."""
    scores: list[float] = []
    for p, (i, j) in enumerate(pairs):
        score = float(k)
        for q in range(p):
            step_a, step_b = i - pairs[q][0], j - pairs[q][1]
            if step_a <= 0 or step_b <= 0:
                continue
            gained = min(step_a, step_b, k)
            drift = abs(step_a - step_b)
            if scores[q] > jump:
                score = max(score, scores[q] - jump + k)
            if step_a <= 400 and drift <= 4 + 0.25 * step_a:
                score = max(score, scores[q] + gained - 0.1 * drift)
        scores.append(score)
    return max(scores, default=0.0)
