"""Temporally smoothed units: the Viterbi path through unit costs with a penalty for switching units.

The nearest unit of a frame between two centroids depends on inaudible differences. The penalty decodes such frames
jointly with their neighbours, and removes isolated single-frame units.

Source: Kamper and van Niekerk 2021, Towards unsupervised phone and word segmentation using self-supervised
vector-quantized neural networks, section 3, with the same penalty for every segment.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import ConfigError
from speechkit.io.arrays import Float

WINDOW_FRAMES = 3000
LOOKAHEAD_FRAMES = 500
"""Look-ahead beyond the end of each window of a long item, in frames."""


def averaged(features: NDArray[np.floating[Any]], frames: int) -> Float:
    """Centred moving average of an item's frames (T, D) over ``frames``, fewer at the ends.

    Raises:
        ConfigError: if ``frames`` is not odd.
    """
    rows = np.asarray(features, np.float32)
    if frames < 1 or frames % 2 == 0:
        raise ConfigError(f"the window of the moving average is {frames} frames; give an odd number")
    if frames == 1 or not len(rows):
        return rows
    sums = np.cumsum(np.concatenate([np.zeros((1, rows.shape[1])), rows.astype(np.float64)]), axis=0)
    centres = np.arange(len(rows))
    begin, end = np.maximum(centres - frames // 2, 0), np.minimum(centres + frames // 2 + 1, len(rows))
    return np.asarray((sums[end] - sums[begin]) / (end - begin)[:, None], np.float32)


def best_path(costs: Float, switch_penalty: float | Float) -> NDArray[np.int32]:
    """Units (T,) of least total cost: ``costs`` (T, K) of the units plus ``switch_penalty`` per switch.

    A table (K, K) has the penalty of a switch from each unit (row) to each (column); its diagonal is ignored. Ties keep
    the current unit, and among other units the lowest. Memory: T * K bytes, and twice that with a table.

    Raises:
        ConfigError: if a penalty is negative or NaN.
    """
    return long_path(lambda begin, end: costs[begin:end], len(costs), switch_penalty, window=max(1, len(costs)))


def long_path(
    costs: Callable[[int, int], Float],
    frames: int,
    switch_penalty: float | Float,
    *,
    window: int = WINDOW_FRAMES,
    lookahead: int = LOOKAHEAD_FRAMES,
) -> NDArray[np.int32]:
    """`best_path` of an item of any length, with the costs (n, K) of frames ``begin`` to ``end`` computed on demand.

    The path inside a window is optimal given the last unit of the previous window and ``lookahead`` frames beyond its
    end; it equals that of the whole item unless later frames would change it.
    """
    least = np.min(switch_penalty)
    if not least >= 0:
        raise ConfigError(f"the penalty for switching units is {least}; it must be 0 or more")
    path = np.empty(frames, np.int32)
    single = np.ndim(switch_penalty) == 0
    forward, last = _kernel() if single else _table_kernel(), -1
    penalty = np.float32(switch_penalty) if single else np.ascontiguousarray(switch_penalty, np.float32)
    for begin in range(0, frames, window):
        end = min(begin + window, frames)
        part = np.ascontiguousarray(costs(begin, min(end + lookahead, frames)), np.float32)
        path[begin:end] = forward(part, penalty, last)[: end - begin]
        last = int(path[end - 1])
    return path


@cache
def _kernel() -> Any:
    from numba import njit

    @njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
    def forward_backward(costs: Any, penalty: Any, previous: int) -> Any:
        frames, units = costs.shape
        total = costs[0].astype(np.float64)
        if previous >= 0:
            total += penalty
            total[previous] -= penalty
        changed = np.zeros((frames, units), np.bool_)
        cheapest = np.zeros(frames, np.int32)
        for t in range(1, frames):
            first = np.argmin(total)
            cheapest[t] = first
            switch_cost = total[first] + penalty
            for k in range(units):
                if switch_cost < total[k]:
                    changed[t, k] = True
                    total[k] = switch_cost
                total[k] += costs[t, k]
        path = np.empty(frames, np.int32)
        unit = np.argmin(total)
        for t in range(frames - 1, -1, -1):
            path[t] = unit
            if changed[t, unit]:
                unit = cheapest[t]
        return path

    return forward_backward


@cache
def _table_kernel() -> Any:
    from numba import njit

    @njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
    def forward_backward(costs: Any, penalties: Any, previous: int) -> Any:
        frames, units = costs.shape
        cheapest, largest = np.empty(units, np.float64), 0.0
        for j in range(units):
            cheapest[j] = np.inf
            for k in range(units):
                if k != j:
                    cheapest[j] = min(cheapest[j], penalties[j, k])
                    largest = max(largest, penalties[j, k])
        total = costs[0].astype(np.float64)
        if previous >= 0:
            for k in range(units):
                if k != previous:
                    total[k] += penalties[previous, k]
        best_cost = np.empty(units, np.float64)
        origin = np.empty((frames, units), np.uint16)
        for t in range(1, frames):
            bound = total.min() + largest
            for k in range(units):
                best_cost[k] = total[k]
                origin[t, k] = k
            for j in range(units):
                # Switching from the best unit costs at most the bound, which rules out most other origins.
                if total[j] + cheapest[j] > bound:
                    continue
                for k in range(units):
                    if total[j] + penalties[j, k] < best_cost[k] and k != j:
                        best_cost[k] = total[j] + penalties[j, k]
                        origin[t, k] = j
            for k in range(units):
                total[k] = best_cost[k] + costs[t, k]
        path = np.empty(frames, np.int32)
        unit = np.argmin(total)
        for t in range(frames - 1, -1, -1):
            path[t] = unit
            unit = origin[t, unit]
        return path

    return forward_backward
