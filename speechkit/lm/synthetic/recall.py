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
