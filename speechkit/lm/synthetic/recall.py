"""Associative recall: key-value pairs, then the keys again in another order, whose values are to be predicted.

Source: Arora et al. 2023 (Zoology), multi-query associative recall.

Notation used for shapes: P pairs, T = 4 P tokens.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def recall_row(random: np.random.Generator, pairs: int, keys: int, values: int) -> NDArray[np.int64]:
    """P distinct key-value pairs, twice, the second time reordered: (T,); keys are 0 … ``keys`` - 1, values follow.

    Raises:
        ValueError: if there are fewer keys than pairs.
    """
    if pairs > keys:
        raise ValueError(f"{pairs} pairs need as many keys and there are {keys}; give more keys")
    drawn_keys = random.permutation(keys)[:pairs]
    drawn_values = random.integers(values, size=pairs) + keys
    order = random.permutation(pairs)
    first = np.stack([drawn_keys, drawn_values], 1)
    return np.concatenate([first, first[order]]).ravel()


def query_mask(pairs: int) -> NDArray[np.bool_]:
    """(T,) true at the second occurrence of each key, where the next token is predictable."""
    positions = np.arange(4 * pairs)
    mask: NDArray[np.bool_] = (positions >= 2 * pairs) & (positions % 2 == 0)
    return mask


def long_recall_row(
    random: np.random.Generator, span: int, gap: int, units: int, bank: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """A random span of units, a gap and the span again: (2 ``span`` + ``gap``,), and a mask of predictable positions.

    In the second occurrence the first unit is not predictable, and nothing follows the last.

    Args:
        random: generator.
        span: length of the span, whose units are uniform and so predictable only from the first occurrence.
        gap: number of units between.
        units: vocabulary size.
        bank: units of real speech from which the gap is cut; None: uniform units.
    """
    repeated = random.integers(units, size=span)
    if bank is not None and len(bank) >= gap:
        begin = int(random.integers(len(bank) - gap + 1))
        between = bank[begin : begin + gap]
    else:
        between = random.integers(units, size=gap)
    row = np.concatenate([repeated, between, repeated])
    mask = np.zeros(len(row), dtype=bool)
    mask[span + gap : -1] = True
    return row, mask
