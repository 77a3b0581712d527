"""Temporally smoothed units: the Viterbi path through unit costs with a penalty for every change of unit.

For a frame between two centroids, inaudible differences decide the nearest unit. The penalty makes such decisions
jointly with the surrounding frames, and removes isolated single-frame units.

Source: Kamper and van Niekerk 2021, Towards unsupervised phone and word segmentation using self-supervised
vector-quantized neural networks, section 3, with the same price for every segment.
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
    """Each frame of an item (T, D) as the mean of the ``frames`` around it, fewer at the item's ends.

    Raises:
        ConfigError: if ``frames`` is not odd.
    """
    rows = np.asarray(features, np.float32)
    if frames < 1 or frames % 2 == 0:
        raise ConfigError(f"a mean of {frames} frames has no middle; take an odd number")
    if frames == 1 or not len(rows):
        return rows
    sums = np.cumsum(np.concatenate([np.zeros((1, rows.shape[1])), rows.astype(np.float64)]), axis=0)
    places = np.arange(len(rows))
    begin, end = np.maximum(places - frames // 2, 0), np.minimum(places + frames // 2 + 1, len(rows))
    return np.asarray((sums[end] - sums[begin]) / (end - begin)[:, None], np.float32)


def best_path(costs: Float, price: float | Float) -> NDArray[np.int32]:
    """Units (T,) of least total cost: ``costs`` (T, K) of the units plus ``price`` for every change of unit.

    A table (K, K) has the price of the change from each unit (row) to each (column); its diagonal is not read. A tie
    keeps the unit, and among units the lowest. T * K bytes of memory, and twice that with a table.

    Raises:
        ConfigError: if a price is negative or NaN.
    """
    return long_path(lambda begin, end: costs[begin:end], len(costs), price, window=max(1, len(costs)))


def long_path(
    costs: Callable[[int, int], Float],
    frames: int,
    price: float | Float,
    *,
    window: int = WINDOW_FRAMES,
    lookahead: int = LOOKAHEAD_FRAMES,
) -> NDArray[np.int32]:
    """`best_path` of an item of any length, whose costs of frames ``begin`` to ``end`` (n, K) are asked for.

    The path inside a window is the best one given where the last window ended and the frames up to ``lookahead`` behind
    its end: the same as that of the whole item unless something still further on would have changed it.
    """
    least = np.min(price)
    if not least >= 0:
        raise ConfigError(f"the price of a change of unit is {least}; it must be 0 or more")
    path = np.empty(frames, np.int32)
    single = np.ndim(price) == 0
    forward, last = _kernel() if single else _table_kernel(), -1
    given = np.float32(price) if single else np.ascontiguousarray(price, np.float32)
    for begin in range(0, frames, window):
        end = min(begin + window, frames)
        part = np.ascontiguousarray(costs(begin, min(end + lookahead, frames)), np.float32)
        found = forward(part, given, last)
        path[begin:end] = found[: end - begin]
        last = int(path[end - 1])
    return path


@cache
def _kernel() -> Any:
    from numba import njit

    @njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
    def forward_backward(costs: Any, price: Any, before: int) -> Any:
        frames, units = costs.shape
        total = costs[0].astype(np.float64)
        if before >= 0:
            total += price
            total[before] -= price
        changed = np.zeros((frames, units), np.bool_)
        cheapest = np.zeros(frames, np.int32)
        for t in range(1, frames):
            first = np.argmin(total)
            cheapest[t] = first
            arriving = total[first] + price
            for k in range(units):
                if arriving < total[k]:
                    changed[t, k] = True
                    total[k] = arriving
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
    def forward_backward(costs: Any, prices: Any, before: int) -> Any:
        frames, units = costs.shape
        cheapest, dearest = np.empty(units, np.float64), 0.0
        for j in range(units):
            cheapest[j] = np.inf
            for k in range(units):
                if k != j:
                    cheapest[j] = min(cheapest[j], prices[j, k])
                    dearest = max(dearest, prices[j, k])
        total = costs[0].astype(np.float64)
        if before >= 0:
            for k in range(units):
                if k != before:
                    total[k] += prices[before, k]
        arriving = np.empty(units, np.float64)
        origin = np.empty((frames, units), np.uint16)
        for t in range(1, frames):
            bound = total.min() + dearest
            for k in range(units):
                arriving[k] = total[k]
                origin[t, k] = k
            for j in range(units):
                # From the best unit no change costs more than the bound: few others can be left for less.
                if total[j] + cheapest[j] > bound:
                    continue
                for k in range(units):
                    if total[j] + prices[j, k] < arriving[k] and k != j:
                        arriving[k] = total[j] + prices[j, k]
                        origin[t, k] = j
            for k in range(units):
                total[k] = arriving[k] + costs[t, k]
        path = np.empty(frames, np.int32)
        unit = np.argmin(total)
        for t in range(frames - 1, -1, -1):
            path[t] = unit
            unit = origin[t, unit]
        return path

    return forward_backward
