"""Rows of fixed length from unit sequences: long ones are cut into windows, short ones packed together. Torch-free.

Every token is a target exactly once. A window that does not begin its sequence begins with tokens of the previous
window, as context without targets; only the first begins with the boundary, and only the last predicts it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORED = -100
"""Target of a position at which nothing is predicted."""
OPEN_ROWS = 8
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """A piece of one sequence, T positions.

    Attributes:
        tokens: (T,) input tokens.
        targets: (T,) the next token, or `IGNORED`.
        positions: (T,) of the tokens in the sequence; the initial boundary is 0.
    """

    tokens: Whole
    targets: Whole
    positions: Whole


def windows(tokens: Sequence[int] | Whole, context: int, overlap: int = 0) -> Iterator[Window]:
    """Windows of at most ``context`` positions over a sequence that begins and ends with the boundary.

    Args:
        tokens: the whole sequence, including both boundaries.
        context: maximum positions of a window.
        overlap: positions that later windows repeat as context, without targets; fewer than ``context``.
    """
    whole = np.asarray(tokens, np.int64)
    last = len(whole) - 1  # positions with a target
    if not 0 <= overlap < context:
        raise ValueError(f"overlap is {overlap}; it must be at least 0 and less than the context, {context}")
    done = 0
    while done < last:
        begin = max(0, done - overlap)
        end = min(begin + context, last)
        targets = whole[begin + 1 : end + 1].copy()
        targets[: done - begin] = IGNORED
        yield Window(whole[begin:end], targets, np.arange(begin, end))
        done = end


def pack(lengths: Sequence[int], capacity: int, order: Sequence[int]) -> list[list[int]]:
    """Best-fit packing, in the given order, into rows of ``capacity`` positions: the fullest open row with room.

    Raises:
        ValueError: if a sequence is longer than a row.
    """
    rows: list[list[int]] = []
    open_rows: list[tuple[int, list[int]]] = []  # positions left, sequences
    for index in order:
        length = lengths[index]
        if length > capacity:
            raise ValueError(f"a sequence of {length} positions does not fit into rows of {capacity}")
        fitting = [number for number, (left, _) in enumerate(open_rows) if left >= length]
        if fitting:
            left, row = open_rows.pop(min(fitting, key=lambda number: open_rows[number][0]))
        else:
            if len(open_rows) == OPEN_ROWS:
                rows.append(open_rows.pop(min(range(OPEN_ROWS), key=lambda number: open_rows[number][0]))[1])
            left, row = capacity, []
        row.append(index)
        open_rows.append((left - length, row))
    return rows + [row for _, row in open_rows]


class PackedRows:
    """Endless batches of packed rows; batch ``number`` is the same on every machine and after any resume.

    Each epoch packs all sequences again, in a new random order.

    Args:
        lengths: positions of each sequence.
        capacity: positions of a row.
        rows: rows per batch.
        seed: of all randomness.
    """

    def __init__(self, lengths: Sequence[int], capacity: int, rows: int, seed: int = 0):
        if not lengths:
            raise ValueError("there are no sequences to batch; give at least one")
        self._lengths, self._capacity, self._rows, self._seed = list(lengths), capacity, rows, seed
        self._first_numbers = [0]
        self._epoch: tuple[int, list[list[list[int]]]] | None = None

    def __getitem__(self, number: int) -> list[list[int]]:
        """The sequences of each row of batch ``number``."""
        while self._first_numbers[-1] <= number:
            batches = self._batches(len(self._first_numbers) - 1)
            self._first_numbers.append(self._first_numbers[-1] + len(batches))
        epoch = next(e for e in range(len(self._first_numbers) - 2, -1, -1) if self._first_numbers[e] <= number)
        return self._batches(epoch)[number - self._first_numbers[epoch]]

    def _batches(self, epoch: int) -> list[list[list[int]]]:
        if self._epoch is None or self._epoch[0] != epoch:
            generator = np.random.default_rng([self._seed, epoch])
            rows = pack(self._lengths, self._capacity, generator.permutation(len(self._lengths)).tolist())
            rows = [rows[index] for index in generator.permutation(len(rows))]
            batches = [rows[first : first + self._rows] for first in range(0, len(rows), self._rows)]
            self._epoch = epoch, batches
        return self._epoch[1]
