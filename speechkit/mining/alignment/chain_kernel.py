"""Compiled search for the best chain of anchors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speechkit.runtime.compiled import compiled


@compiled
def best_chain(first: NDArray[np.int64], second: NDArray[np.int64], k: int, jump: float) -> NDArray[np.int64]:
    """Indices of the best chain; see :func:`speechkit.mining.alignment.anchors.chain`."""
    count = len(first)
    score = np.empty(count)
    previous = np.full(count, -1, np.int64)
    order = np.argsort(second)
    rank = np.empty(count, np.int64)
    position = 0
    for nth in range(count):
        if nth > 0 and second[order[nth]] != second[order[nth - 1]]:
            position += 1
        rank[order[nth]] = position
    size = position + 2
    tree_score = np.full(size + 1, -1e30)
    tree_index = np.full(size + 1, -1, np.int64)
    pending = 0  # pairs whose ``first`` is smaller than the present one are in the tree
    for p in range(count):
        while pending < p and first[pending] < first[p]:
            node = rank[pending] + 1
            while node <= size:
                if score[pending] > tree_score[node]:
                    tree_score[node] = score[pending]
                    tree_index[node] = pending
                node += node & -node
            pending += 1
        value = float(k)
        node = rank[p]  # ranks below mine
        far = -1
        far_score = -1e30
        while node > 0:
            if tree_score[node] > far_score:
                far_score = tree_score[node]
                far = tree_index[node]
            node -= node & -node
        if far >= 0 and far_score > jump:
            value = far_score - jump + k
            previous[p] = far
        looked = 0
        q = p - 1
        while q >= 0 and looked < 64:
            step_a = first[p] - first[q]
            step_b = second[p] - second[q]
            if step_a > 400:
                break
            if step_a > 0 and step_b > 0:
                drift = abs(step_a - step_b)
                if drift <= 4 + 0.25 * step_a:
                    near = score[q] + min(step_a, step_b, k) - 0.1 * drift
                    if near > value:
                        value = near
                        previous[p] = q
            looked += 1
            q -= 1
        score[p] = value
    at = np.argmax(score)
    length = 0
    walk = at
    while walk >= 0:
        length += 1
        walk = previous[walk]
    result = np.empty(length, np.int64)
    walk = at
    while walk >= 0:
        length -= 1
        result[length] = walk
        walk = previous[walk]
    return result
