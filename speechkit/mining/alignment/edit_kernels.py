"""Compiled unit-cost edit distances for short sequences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speechkit.runtime.compiled import compiled


@compiled
def _last_row(a: NDArray[np.int32], b: NDArray[np.int32]) -> NDArray[np.int64]:
    row = np.arange(len(b) + 1)
    for i in range(1, len(a) + 1):
        diagonal = row[0]
        row[0] = i
        for j in range(1, len(b) + 1):
            above = row[j]
            value = diagonal + (a[i - 1] != b[j - 1])
            if above + 1 < value:
                value = above + 1
            if row[j - 1] + 1 < value:
                value = row[j - 1] + 1
            row[j] = value
            diagonal = above
    return row


@compiled
def edit_distance(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """Insertions, deletions and substitutions between two coded sequences."""
    return _last_row(a, b)[len(b)]  # type: ignore[no-any-return]


@compiled
def prefix_distance(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """Edits between ``a`` and the prefix of ``b`` that is nearest to it."""
    return _last_row(a, b).min()  # type: ignore[no-any-return]
