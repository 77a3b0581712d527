"""Best CTC path through a token sequence, optionally within a band, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import AlignmentError

POINTER_BYTES = 48_000_000
WILDCARD = -1


@dataclass(frozen=True, eq=False)
class StateSequence:
    """States of a CTC alignment.

    ``symbols`` (S,) are columns of the emissions, V for the star and V + 1 for the wildcard; odd states are tokens.
    ``skips`` (S,) is 0 where the previous state may be skipped and very negative elsewhere.
    """

    symbols: NDArray[np.int32]
    skips: NDArray[np.float32]


def frames_needed(tokens: NDArray[np.int64]) -> int:
    """Minimum number of frames for the tokens: one each, and a blank between equal neighbours."""
    repeats = int(((tokens[1:] == tokens[:-1]) & (tokens[1:] != WILDCARD)).sum())
    return len(tokens) + repeats


def state_sequence(
    tokens: NDArray[np.int64],
    blank: int,
    vocabulary_size: int,
    star_before: NDArray[np.int64] | None = None,
) -> StateSequence:
    """States star, token, blank, token, …, token, star.

    Args:
        tokens: (L,) columns of the emissions; WILDCARD (-1) stands for any one symbol.
        blank: the blank's column.
        vocabulary_size: V.
        star_before: tokens that may be preceded by untranscribed speech, besides the first.
    """
    count = len(tokens)
    symbols = np.full(2 * count + 1, blank, np.int32)
    symbols[1::2] = np.where(tokens == WILDCARD, vocabulary_size + 1, tokens)
    symbols[[0, -1]] = vocabulary_size
    if star_before is not None:
        symbols[2 * star_before] = vocabulary_size
    skips = np.full(2 * count + 1, -1e30, np.float32)
    different = (tokens[1:] != tokens[:-1]) | (tokens[1:] == WILDCARD)
    skips[3::2][different] = 0
    return StateSequence(symbols, skips)


def open_scores(
    emissions: NDArray[np.float32], blank: int, penalty: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores of the star (any speech or none) and of the wildcard (any one symbol) in each frame, both (T,).

    The wildcard scores as the best non-blank symbol minus ``penalty``; the star as that or the blank.
    """
    others = np.delete(emissions, blank, axis=1)
    best = others.max(1) if others.shape[1] else np.full(len(emissions), -1e30, np.float32)
    wildcard = (best - np.float32(penalty)).astype(np.float32)
    return np.maximum(emissions[:, blank], wildcard), wildcard


def best_path(
    emissions: NDArray[np.float32],
    states: StateSequence,
    blank: int,
    *,
    star_penalty: float,
    centre: NDArray[np.int64] | None = None,
    width: int | None = None,
) -> NDArray[np.int64]:
    """Best CTC path within a band of states around ``centre``.

    Shapes: emissions (T, V) log-probabilities; centre (T,) in states 0..S-1, nondecreasing.
    Memory: T * width / 4 bytes (2-bit back-pointers) up to 48 MB; longer recordings keep rows at checkpoints and
    compute the blocks between them twice.

    Returns:
        (T,) the state of every frame.

    Raises:
        AlignmentError: if no path stays inside the band.

    Source: Graves et al. 2006, section 4.
    """
    from speechkit.asr.refinement.ctc_kernel import advance, walk_back

    frames, total = len(emissions), len(states.symbols)
    width = total if width is None else min(max(width, 4), total)
    if centre is None:
        centre = np.linspace(0, total - 1, frames).astype(np.int64)
    band = np.clip(np.maximum.accumulate(centre) - width // 2, 0, total - width)
    star, wildcard = open_scores(emissions, blank, star_penalty)
    pointer_width = (width + 3) // 4
    block = min(frames, max(POINTER_BYTES // pointer_width, 256))
    starts = list(range(0, frames, block))
    rows = [np.full(width, -1e30, np.float32)]
    no_pointers = np.zeros((0, 0), np.uint8)

    def forward(index: int, pointers: NDArray[np.uint8]) -> NDArray[np.float32]:
        begin = starts[index]
        part = slice(begin, begin + block)
        row: NDArray[np.float32] = rows[index].copy()
        band_before = int(band[begin - 1]) if begin else 0
        advance(
            emissions[part],
            star[part],
            wildcard[part],
            states.symbols,
            states.skips,
            band[part],
            row,
            band_before,
            begin == 0,
            pointers,
        )
        return row

    for index in range(len(starts) - 1):
        rows.append(forward(index, no_pointers))  # noqa: PERF401, each row starts from the one before
    path = np.empty(frames, np.int64)
    pointers = np.empty((block, pointer_width), np.uint8)
    state = -1
    for index in range(len(starts) - 1, -1, -1):
        begin = starts[index]
        size = min(block, frames - begin)
        row = forward(index, pointers[:size])
        if state < 0:
            low = int(band[-1])
            ends = [s for s in (total - 1, total - 2) if low <= s < low + width]
            state = max(ends, key=lambda s: float(row[s - low]), default=-1)
            if state < 0 or row[state - low] < -1e29:
                raise AlignmentError(
                    f"no path through {total // 2} tokens in {frames} frames stays inside a band of {width} states; "
                    "widen the band or give a better centre"
                )
        state = int(walk_back(pointers[:size], band[begin : begin + size], state, path[begin : begin + size]))
    return path
