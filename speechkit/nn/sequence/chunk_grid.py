"""Rows that stand at different places of their chunks, laid side by side so that all chunks end together.

Notation used for tensor shapes: B rows, T positions, K positions of a chunk; a column of the grid is a position counted
from the begin of the chunk that the row is in.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from speechkit.nn.sequence.rows import Rows


class ChunkGrid:
    """Positions (B, T) by columns.

    Args:
        begun: (B,) positions that each row has had of its chunk, 0 … K - 1.
        length: T.
        chunk: K.
        rows: their lengths.

    Attributes:
        pieces: columns, from and to, that are of one chunk.
        begun: (B,) what rows have had of their chunk after T positions.
    """

    def __init__(self, begun: Tensor, length: int, chunk: int, rows: Rows):
        self._first, self._length, self._chunk = begun, length, chunk
        lengths = torch.full_like(begun, length) if rows.lengths is None else rows.lengths.to(begun.device)
        self._ends = begun + lengths
        least, most = int(begun.min()), int(begun.max())
        # Where all rows begin alike, columns are positions, and only ends may differ.
        self._shift = least if least == most else None
        self._even = self._shift is not None and not rows.ragged(length)
        borders = [least, *range(chunk * (least // chunk + 1), most + length, chunk), most + length]
        self.pieces = list(pairwise(borders))
        self.begun = self._ends % chunk

    def taken(self, part: Tensor, begin: int, end: int) -> Tensor:
        """Of (B, T, …) the columns of a piece: (B, columns, …); anything where a row has no position."""
        if self._shift is not None:
            return part[:, begin - self._shift : end - self._shift]
        columns = torch.arange(begin, end, device=part.device) - self._first[:, None]
        return _gathered(part, columns.clamp(0, self._length - 1))

    def active(self, begin: int, end: int) -> Tensor | None:
        """(B, columns) true where a row has a position; None: everywhere."""
        if self._even:
            return None
        columns = torch.arange(begin, end, device=self._first.device)
        return (columns >= self._first[:, None]) & (columns < self._ends[:, None])

    def ended(self, column: int) -> Tensor | None:
        """(B,) true for rows whose chunk ends before a column, and who have had all of it; None: all rows, if any."""
        return None if self._even else self._ends >= column

    def ends_chunk(self, column: int) -> bool:
        """Whether a chunk ends before a column."""
        return column % self._chunk == 0

    def joined(self, pieces: list[Tensor]) -> Tensor:
        """What was made of all pieces, (B, columns, …) each, by position: (B, T, …)."""
        made = torch.cat(pieces, 1)
        if self._shift is not None:
            return made
        columns = torch.arange(self._length, device=made.device) + (self._first - self.pieces[0][0])[:, None]
        return _gathered(made, columns)


def _gathered(part: Tensor, index: Tensor) -> Tensor:
    """(B, T, …) at (B, N): (B, N, …)."""
    return part[torch.arange(len(part), device=part.device)[:, None], index]
