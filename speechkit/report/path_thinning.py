"""A long path with fewer points that looks the same."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def thinned(path: Sequence[tuple[int, float]], count: int) -> list[tuple[int, float]]:
    """At most about ``count`` points of a path: those where it bends most (Douglas–Peucker, the ends stay)."""
    if len(path) <= count:
        return list(path)
    width, height = max(1e-9, path[-1][1] - path[0][1]), max(1, path[-1][0] - path[0][0])
    keep = {0, len(path) - 1}
    heap = [_bend(path, 0, len(path) - 1, width, height)]
    while heap and len(keep) < count:
        distance, at, low, high = heapq.heappop(heap)
        if distance >= 0:  # distances are negated: nothing bends any more
            break
        keep.add(at)
        for piece in ((low, at), (at, high)):
            if piece[1] - piece[0] > 1:
                heapq.heappush(heap, _bend(path, *piece, width, height))
    return [path[index] for index in sorted(keep)]


def _bend(
    path: Sequence[tuple[int, float]], low: int, high: int, width: float, height: float
) -> tuple[float, int, int, int]:
    """The point farthest from the straight line between two points: (-distance, point, low, high)."""
    (c0, s0), (c1, s1) = path[low], path[high]
    span = s1 - s0
    best, at = 0.0, low + 1
    # A long stretch is sampled: a million points need not all be measured to find where it bends.
    for index in range(low + 1, high, max(1, (high - low) // 2000)):
        c, s = path[index]
        expected = c0 + (c1 - c0) * ((s - s0) / span if span else 0.5)
        distance = abs(c - expected) / height + (0.0 if span else abs(s - s0) / width)
        if distance > best:
            best, at = distance, index
    return -best, at, low, high
