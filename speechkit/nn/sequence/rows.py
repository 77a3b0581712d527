"""Metadata of the rows of a batch: lengths, packed documents, tokens, prefixes, trees.

Notation used for tensor shapes: B rows, T positions, N documents of all rows, L positions of the longest document.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from speechkit.nn.masks import length_mask

Made = TypeVar("Made")


@dataclass(frozen=True)
class Rows:
    """Row metadata; each field is None where it does not apply.

    Attributes:
        lengths: number of positions of each row (B,), without padding.
        documents: document numbers (B, T) of packed rows; documents do not see each other. A row's first document
            continues the row's state.
        tokens: tokens of the positions (B, T), for mixers that need them.
        prefix: mask (B, T) of the positions of a document's bidirectional prefix.
        ancestors: (T, T), true where a position equals or descends from another, for trees after the state.
    """

    lengths: Tensor | None = None
    documents: Tensor | None = None
    tokens: Tensor | None = None
    prefix: Tensor | None = None
    ancestors: Tensor | None = None

    def ragged(self, longest: int) -> bool:
        """Whether any row is shorter than ``longest``."""
        return self.lengths is not None and int(self.lengths.min()) < longest

    def longest(self, padded: int) -> int:
        """Length of the longest row of a batch padded to ``padded``."""
        return int(self.lengths.max()) if self.lengths is not None and self.ragged(padded) else padded

    def newest(self, joined: Tensor, cached: int, kept: int, dim: int = 1) -> Tensor:
        """The last ``kept`` columns of each row's cache, ending with the row's last position.

        Args:
            joined: cache and new columns, C + T in dimension ``dim``.
            cached: C.
            kept: number of columns to keep; the first are undefined for rows with fewer.
            dim: of the columns.
        """
        padded = joined.shape[dim] - cached
        if not self.ragged(padded):
            return joined.narrow(dim, joined.shape[dim] - kept, kept)
        assert self.lengths is not None
        lengths = self.lengths.to(joined.device)[:, None]
        column = (lengths + cached - kept + torch.arange(kept, device=joined.device)).clamp_min(0)  # (B, kept)
        shape = [len(joined), *[1] * (joined.dim() - 1)]
        shape[dim] = kept
        sizes = list(joined.shape)
        sizes[dim] = kept
        return joined.gather(dim, column.view(shape).expand(sizes))

    def once(self, name: Hashable | None, make: Callable[[], Made]) -> Made:
        """A value shared by several layers, computed once per ``name``; not shared for None."""
        if name is None:
            return make()
        if name not in self._made:
            self._made[name] = make()
        made: Made = self._made[name]
        return made

    @cached_property
    def _made(self) -> dict[Hashable, Any]:
        return {}

    @cached_property
    def borders(self) -> Tensor:
        """Mask (B, T) of document starts, except the first of each row."""
        assert self.documents is not None
        return torch.cat(
            [torch.zeros_like(self.documents[:, :1], dtype=torch.bool), self.documents.diff(dim=1) != 0], 1
        )

    @cached_property
    def ordinals(self) -> Tensor:
        """Index (B, T) of each position's document in its row."""
        return self.borders.cumsum(1)

    @cached_property
    def since_border(self) -> Tensor:
        """Position (B, T) in the document, or in the row for its first document."""
        steps = torch.arange(self.borders.shape[1], device=self.borders.device).expand_as(self.borders)
        return steps - (steps * self.borders).cummax(1).values

    @cached_property
    def split(self) -> Split:
        """The packed documents as separate rows."""
        return Split(self)


class Split:
    """Conversion between packed rows and a batch of documents.

    Attributes:
        rows: metadata of the documents.
        row: row of each document (N,).
        continues: mask (N,) of documents at the start of their row, which continue its state.
    """

    def __init__(self, rows: Rows):
        assert rows.documents is not None
        batch, longest = self._shape = rows.documents.shape
        device = rows.documents.device
        lengths = torch.full((batch,), longest, device=device) if rows.lengths is None else rows.lengths.to(device)
        inside = length_mask(lengths, longest)
        begins = rows.borders.clone()
        begins[:, 0] = True
        begins = (begins & inside).flatten()
        starts = begins.nonzero()[:, 0]  # (N,)
        document = (begins.cumsum(0) - 1).clamp_min(0)  # (B T,), of each position
        sizes = torch.bincount(document[inside.flatten()], minlength=len(starts))
        steps = torch.arange(int(sizes.max()), device=device)
        self._gathered = (starts[:, None] + steps).clamp_max(batch * longest - 1)  # (N, L)
        offset = torch.arange(batch * longest, device=device) - starts[document]
        self._scattered = document * len(steps) + offset.clamp(0, len(steps) - 1)  # (B T,)
        self._last = document.view(batch, longest).gather(1, (lengths - 1).clamp_min(0)[:, None])[:, 0]  # (B,)
        self._empty = lengths < 1
        self.row, self.continues = starts // longest, starts % longest == 0
        self.rows = Rows(
            sizes,
            tokens=None if rows.tokens is None else self.documents(rows.tokens),
            prefix=None if rows.prefix is None else self.documents(rows.prefix) & length_mask(sizes, len(steps)),
        )

    def documents(self, of_rows: Tensor) -> Tensor:
        """(B, T, …) -> (N, L, …); undefined after a document's end."""
        return of_rows.flatten(0, 1)[self._gathered]

    def merged(self, of_documents: Tensor) -> Tensor:
        """(N, L, …) -> (B, T, …); padding is finite but undefined."""
        return of_documents.flatten(0, 1)[self._scattered].view(*self._shape, *of_documents.shape[2:])

    def begin(self, of_row: Tensor, fresh: Tensor) -> Tensor:
        """Initial states of documents (N, …) from those of rows (B, …) and fresh ones (N, …)."""
        chosen = self.continues.view(-1, *[1] * (fresh.dim() - 1))
        return torch.where(chosen, of_row[self.row], fresh)

    def end(self, of_document: Tensor, of_row: Tensor) -> Tensor:
        """Final state of the last document of each row (B, …); empty rows keep their state."""
        empty = self._empty.view(-1, *[1] * (of_row.dim() - 1))
        return torch.where(empty, of_row, of_document[self._last])


def is_single_row(x: Tensor) -> bool:
    """Whether (B, D) is a single float32 row on a CPU without gradients."""
    return (
        x.shape[0] == 1
        and x.dim() == 2
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def numbers(tensor: Tensor) -> Any:
    """A tensor as a NumPy array of the same memory, for compiled kernels."""
    return tensor.detach().contiguous().numpy()


def flat_array(tensor: Tensor) -> Any:
    """The flat memory from a tensor's first to its last element, including gaps."""
    steps = (size - 1 for size in tensor.shape)
    length = 1 + sum(count * stride for count, stride in zip(steps, tensor.stride(), strict=True))
    return tensor.as_strided((length,), (1,)).numpy()
