"""Anchors: short stretches that two texts share and rarely repeat, and the best increasing chain of them.

Source: the chain is that of minimap2 (Li 2018, section 2.1.1) in spirit, with a single price for every jump between
diagonals so that a Fenwick tree finds the best predecessor however far away it is: O(n log n).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def window_hashes(codes: NDArray[np.int32], k: int) -> NDArray[np.uint64]:
    """Hash of every window of ``k`` symbols, shape (len(codes) - k + 1,) or empty."""
    count = len(codes) - k + 1
    if count <= 0:
        return np.zeros(0, np.uint64)
    spread_codes = (codes.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    spread_codes ^= spread_codes >> np.uint64(29)
    hashes: NDArray[np.uint64] = np.zeros(count, np.uint64)
    for offset in range(k):
        hashes = hashes * np.uint64(0x100000001B3) + spread_codes[offset : offset + count]
    hashes ^= hashes >> np.uint64(31)
    return hashes


def shared_windows(
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    k: int,
    max_occurrences: int = 4,
    use_a: NDArray[np.bool_] | None = None,
    use_b: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Positions (i, j) with ``a[i:i+k] == b[j:j+k]`` for windows that make at most ``max_occurrences`` such pairs.

    ``use_a`` and ``use_b`` say which windows count, one value a window; all when absent.

    Returns:
        (p, 2) int64, sorted by i and then by descending j.
    """
    hash_a, hash_b = window_hashes(a, k), window_hashes(b, k)
    if not len(hash_a) or not len(hash_b):
        return np.zeros((0, 2), np.int64)
    from_a = np.arange(len(hash_a)) if use_a is None else np.flatnonzero(use_a)
    from_b = np.arange(len(hash_b)) if use_b is None else np.flatnonzero(use_b)
    hash_a, hash_b = hash_a[from_a], hash_b[from_b]
    order_b = np.argsort(hash_b, kind="stable")
    sorted_b = hash_b[order_b]
    order_b = from_b[order_b]
    first = np.searchsorted(sorted_b, hash_a, "left")
    last = np.searchsorted(sorted_b, hash_a, "right")
    here = np.flatnonzero(last > first)
    if not len(here):
        return np.zeros((0, 2), np.int64)
    times_b = (last - first)[here]
    _, inverse, times = np.unique(hash_a[here], return_inverse=True, return_counts=True)
    rare = times_b * times[inverse] <= max_occurrences
    here, times_b = here[rare], times_b[rare]
    i = np.repeat(from_a[here], times_b)
    start = np.repeat(first[here], times_b)
    within = np.arange(len(i)) - np.repeat(np.cumsum(times_b) - times_b, times_b)
    j = order_b[start + within]
    pairs: NDArray[np.int64] = np.stack([i, j], 1).astype(np.int64)
    # A hash may lie; the first and last symbol and one between are compared, the gap alignment forgives the rest.
    same = (a[i] == b[j]) & (a[i + k - 1] == b[j + k - 1]) & (a[i + k // 2] == b[j + k // 2])
    pairs = pairs[same]
    return np.take(pairs, np.lexsort((-pairs[:, 1], pairs[:, 0])), axis=0)


def chain(pairs: NDArray[np.int64], k: int, jump: float = 24.0) -> NDArray[np.int64]:
    """The increasing chain of ``pairs`` that covers most symbols, less ``jump`` for every change of region.

    Neighbours on nearly the same diagonal support each other: only a jump away from it costs. A pair that stands
    alone must therefore cover more than the two jumps to it and back.

    Args:
        pairs: (p, 2) as :func:`shared_windows` gives them.
        k: the window's length in symbols.
        jump: price of a jump, in matched symbols; more than ``k``, or jumps between overlapping windows pay.

    Returns:
        (c, 2) the pairs of the chain, increasing in both columns.
    """
    from speechkit.mining.alignment.chain_kernel import best_chain

    if not len(pairs):
        return pairs
    chosen = best_chain(np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1]), k, jump)
    return np.take(pairs, chosen, axis=0)


def runs(chained: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Exact diagonal stretches of a chain: (r, 3) rows (i, j, length), disjoint and increasing on both sides."""
    merged: list[list[int]] = []
    for i, j in chained.tolist():
        if merged:
            last_i, last_j, length = merged[-1]
            if i - j == last_i - last_j and i <= last_i + length:
                merged[-1][2] = i + k - last_i
                continue
            overlap = max(last_i + length - i, last_j + length - j, 0)
            if overlap >= k:
                continue
            merged.append([i + overlap, j + overlap, k - overlap])
        else:
            merged.append([i, j, k])
    return np.array(merged, np.int64).reshape(-1, 3)
