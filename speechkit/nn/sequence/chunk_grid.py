"""Alignment of rows at different offsets in their chunks on a common grid of chunk boundaries.

Notation used for tensor shapes: B rows, T positions, K positions of a chunk; grid columns are positions relative to the
start of the row's current chunk.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from speechkit.nn.sequence.rows import Rows


class ChunkGrid:
    """Maps positions (B, T) to grid columns.

    Args:
        begun: offset of each row in its chunk (B,), 0 … K - 1.
        length: T.
        chunk: K.
        rows: their lengths.

    Attributes:
        pieces: column ranges inside one chunk each.
        begun: offset of each row in its chunk (B,) after T positions.
    """

    def __init__(self, begun: Tensor, length: int, chunk: int, rows: Rows):
        self._first, self._length, self._chunk = begun, length, chunk
        lengths = torch.full_like(begun, length) if rows.lengths is None else rows.lengths.to(begun.device)
        self._ends = begun + lengths
        least, most = int(begun.min()), int(begun.max())
        # With equal offsets, columns are shifted positions, and only lengths may differ.
        self._shift = least if least == most else None
        self._even = self._shift is not None and not rows.ragged(length)
        borders = [least, *range(chunk * (least // chunk + 1), most + length, chunk), most + length]
        self.pieces = list(pairwise(borders))
        self.begun = self._ends % chunk

    def taken(self, part: Tensor, begin: int, end: int) -> Tensor:
        """Select a piece's columns of (B, T, …): (B, columns, …); undefined where a row has no position."""
        if self._shift is not None:
            return part[:, begin - self._shift : end - self._shift]
        columns = torch.arange(begin, end, device=part.device) - self._first[:, None]
        return _gathered(part, columns.clamp(0, self._length - 1))

    def active(self, begin: int, end: int) -> Tensor | None:
        """Mask (B, columns), true where a row has a position; None if it is all true."""
        if self._even:
            return None
        columns = torch.arange(begin, end, device=self._first.device)
        return (columns >= self._first[:, None]) & (columns < self._ends[:, None])

    def ended(self, column: int) -> Tensor | None:
        """Mask (B,) of rows that completed the chunk ending before a column; None if all did."""
        return None if self._even else self._ends >= column

    def ends_chunk(self, column: int) -> bool:
        """Whether a chunk ends before a column."""
        return column % self._chunk == 0

    def joined(self, pieces: list[Tensor]) -> Tensor:
        """Concatenate the outputs of all pieces, (B, columns, …) each, back to positions: (B, T, …)."""
        columns = torch.cat(pieces, 1)
        if self._shift is not None:
            return columns
        index = torch.arange(self._length, device=columns.device) + (self._first - self.pieces[0][0])[:, None]
        return _gathered(columns, index)


def _gathered(part: Tensor, index: Tensor) -> Tensor:
    """(B, T, …) at (B, N): (B, N, …)."""
    return part[torch.arange(len(part), device=part.device)[:, None], index]
