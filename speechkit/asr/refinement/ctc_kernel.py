"""Compiled banded Viterbi over the states of a CTC token sequence, with 2-bit back-pointers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speechkit.runtime.compiled import compiled

IMPOSSIBLE = np.float32(-1e30)


@compiled
def advance(
    emissions: NDArray[np.float32],
    star: NDArray[np.float32],
    wildcard: NDArray[np.float32],
    symbols: NDArray[np.int32],
    skips: NDArray[np.float32],
    band: NDArray[np.int64],
    row: NDArray[np.float32],
    band_before: int,
    first_frame: bool,
    pointers: NDArray[np.uint8],
) -> None:
    """Advance ``row`` over a block of frames.

    Shapes: emissions (T, V) float32; star and wildcard (T,) float32; symbols (S,) int32 with V for
    the star and V + 1 for the wildcard; skips (S,) float32, 0
    where a state may be entered from two states before and very negative elsewhere; band (T,) int64 first state of
    each frame's band; row (W,) float32 scores of the states from ``band_before`` on, after the frame before the
    block; pointers (T, ceil(W / 4)) uint8, or (0, 0) when only the scores are wanted: 0 stay, 1 from the state
    before, 2 from two before.

    ``first_frame`` is true when the block starts the recording: paths then begin in state 0 or 1.
    """
    frames, symbol_count = emissions.shape
    states = len(symbols)
    width = len(row)
    keep = pointers.shape[0] == frames
    old = np.full(width + 2, IMPOSSIBLE)  # old[w + 2] is the state band_old + w
    old[2:] = row
    new = np.empty(width, np.float32)
    came = np.zeros(width + 3, np.uint8)
    here = np.empty(symbol_count + 2, np.float32)
    shifted = np.full(width + 2, IMPOSSIBLE)
    band_old = band_before
    for t in range(frames):
        here[:symbol_count] = emissions[t]
        here[symbol_count] = star[t]
        here[symbol_count + 1] = wildcard[t]
        low = band[t]
        if first_frame and t == 0:
            new[:] = IMPOSSIBLE
            came[:] = 0
            for s in range(2):
                if low <= s < low + width and s < states:
                    new[s - low] = here[symbols[s]]
        else:
            # shifted[w + 2] is the old score of state low + w; low never falls.
            step = low - band_old
            for w in range(width + 2):
                source = w + step
                shifted[w] = old[source] if source < width + 2 else IMPOSSIBLE
            count = min(width, states - low)
            symbols_here = symbols[low : low + count]
            skips_here = skips[low : low + count]
            for w in range(count):
                stay = shifted[w + 2]
                one = shifted[w + 1]
                two = shifted[w] + skips_here[w]
                value = stay
                code = np.uint8(0)
                if one > value:
                    value = one
                    code = np.uint8(1)
                if two > value:
                    value = two
                    code = np.uint8(2)
                new[w] = value + here[symbols_here[w]]
                came[w] = code
            for w in range(count, width):
                new[w] = IMPOSSIBLE
                came[w] = 0
        if keep:
            packed = pointers[t]
            for q in range(len(packed)):
                w = 4 * q
                packed[q] = came[w] | (came[w + 1] << 2) | (came[w + 2] << 4) | (came[w + 3] << 6)
        old[2:] = new
        band_old = low
    row[:] = new


@compiled
def walk_back(pointers: NDArray[np.uint8], band: NDArray[np.int64], state: int, path: NDArray[np.int64]) -> int:
    """Fill ``path`` (T,) with the state of each frame, ending in ``state``; returns the state before the block."""
    for t in range(len(path) - 1, -1, -1):
        path[t] = state
        w = state - band[t]
        state -= (pointers[t, w >> 2] >> (2 * (w & 3))) & 3
    return state
