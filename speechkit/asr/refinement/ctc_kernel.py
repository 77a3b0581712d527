"""Compiled banded Viterbi over the states of a CTC token sequence, with 2-bit back-pointers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speechkit.runtime.compiled import compiled

_UNKNOWN = -12.0  # floor of a frame's score, since recognisers are overconfident

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

    Shapes: emissions (T, V) float32; star and wildcard (T,) float32; symbols (S,) int32 with V for the star and V + 1
    for the wildcard; skips (S,) float32, 0 where a state may be entered from two states back and very negative
    elsewhere; band (T,) int64 first state of each frame's band; row (W,) float32 scores of the states from
    ``band_before`` on, after the frame before the block; pointers (T, ceil(W / 4)) uint8, or (0, 0) if only the scores
    are needed: 0 stay, 1 from the previous state, 2 from two states back.

    ``first_frame`` is true when the block starts the recording: paths then begin in state 0 or 1.
    """
    frames, symbol_count = emissions.shape
    states = len(symbols)
    width = len(row)
    keep = pointers.shape[0] == frames
    old = np.full(width + 2, IMPOSSIBLE)  # old[w + 2] is the state band_old + w
    old[2:] = row
    new = np.empty(width, np.float32)
    steps = np.zeros(width + 3, np.uint8)
    frame_scores = np.empty(symbol_count + 2, np.float32)
    shifted = np.full(width + 2, IMPOSSIBLE)
    band_old = band_before
    for t in range(frames):
        frame_scores[:symbol_count] = emissions[t]
        frame_scores[symbol_count] = star[t]
        frame_scores[symbol_count + 1] = wildcard[t]
        low = band[t]
        if first_frame and t == 0:
            new[:] = IMPOSSIBLE
            steps[:] = 0
            for s in range(2):
                if low <= s < low + width and s < states:
                    new[s - low] = frame_scores[symbols[s]]
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
                new[w] = value + frame_scores[symbols_here[w]]
                steps[w] = code
            for w in range(count, width):
                new[w] = IMPOSSIBLE
                steps[w] = 0
        if keep:
            packed = pointers[t]
            for q in range(len(packed)):
                w = 4 * q
                packed[q] = steps[w] | (steps[w + 1] << 2) | (steps[w + 2] << 4) | (steps[w + 3] << 6)
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


@compiled
def spelling_scores(
    log_probs: NDArray[np.float32],
    edge: NDArray[np.float32],
    spellings: NDArray[np.int32],
    lengths: NDArray[np.int64],
    blank: int,
) -> NDArray[np.float64]:
    """Log-probability (n,) of the best CTC path of each spelling through all frames.

    ``log_probs`` (T, V); ``edge`` (T,) is the score of a frame before the first symbol and after the last;
    ``spellings`` (n, longest) are columns, -1 for a symbol that the vocabulary lacks; ``lengths`` (n,).
    """
    frames = len(log_probs)
    scores = np.empty(len(spellings))
    best = np.empty(2 * spellings.shape[1] + 1)
    for item in range(len(spellings)):
        spelling, count = spellings[item], lengths[item]
        states = 2 * count + 1
        best[:states] = -1e30
        best[0] = 0.0
        for frame in range(frames):
            for state in range(states - 1, -1, -1):
                value = best[state]
                if state > 0:
                    value = max(value, best[state - 1])
                if state % 2 == 1 and state > 1 and spelling[state // 2] != spelling[state // 2 - 1]:
                    value = max(value, best[state - 2])
                if frame == 0 and state > 1:
                    value = -1e30
                if state % 2 == 1:
                    symbol = spelling[state // 2]
                    value += _UNKNOWN if symbol < 0 else max(log_probs[frame, symbol], _UNKNOWN)
                else:
                    value += edge[frame] if state in (0, states - 1) else max(log_probs[frame, blank], _UNKNOWN)
                best[state] = value
        scores[item] = max(best[states - 1], best[states - 2]) if count else best[0]
    return scores
