"""Associative recall: keys with their values, then keys again, in another order, whose values must be told.

Source: Arora et al. 2023 (Zoology), multi-query associative recall.

Notation used for shapes: P pairs, T = 4 P tokens.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def recall_row(random: np.random.Generator, pairs: int, keys: int, values: int) -> NDArray[np.int64]:
    """P different keys, each before its value, twice: (T,); keys are 0 … ``keys`` - 1, values come after them.

    Raises:
        ValueError: if there are fewer keys than pairs.
    """
    if pairs > keys:
        raise ValueError(f"{pairs} pairs of {keys} keys; give as many keys as pairs")
    chosen = random.permutation(keys)[:pairs]
    held = random.integers(values, size=pairs) + keys
    again = random.permutation(pairs)
    first, second = np.stack([chosen, held], 1), np.stack([chosen[again], held[again]], 1)
    return np.concatenate([first, second]).ravel()


def asked(pairs: int) -> NDArray[np.bool_]:
    """(T,) true at keys that come a second time: the next token is theirs to tell."""
    positions = np.arange(4 * pairs)
    marked: NDArray[np.bool_] = (positions >= 2 * pairs) & (positions % 2 == 0)
    return marked


def long_recall_row(
    random: np.random.Generator, span: int, gap: int, units: int, bank: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """A stretch of units, others, and the stretch again: (2 ``span`` + ``gap``,), and true where the next can be told.

    Of the second time the first unit cannot be told, and the last has nothing behind it.

    Args:
        random: draws.
        span: units of the stretch, each drawn evenly: nothing but the first time tells them.
        gap: units between.
        units: how many there are.
        bank: units of speech in a row, of which the others are a piece; None: they are drawn evenly, too.
    """
    stretch = random.integers(units, size=span)
    if bank is not None and len(bank) >= gap:
        begin = int(random.integers(len(bank) - gap + 1))
        between = bank[begin : begin + gap]
    else:
        between = random.integers(units, size=gap)
    row = np.concatenate([stretch, between, stretch])
    marked = np.zeros(len(row), dtype=bool)
    marked[span + gap : -1] = True
    return row, marked
