"""Append-only tensors with spare capacity, for key-value caches of attention.

Columns are views of a buffer with spare capacity. The first append to a state writes into the spare capacity; a second
append to the same state, as by another beam, copies the columns to a new buffer. So states are immutable, and most
steps copy nothing.

Notation used for tensor shapes: B rows, G key heads, C columns, T new columns, E width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MIN_CAPACITY = 32
_NAME = "growing_columns"


@dataclass(frozen=True)
class _Buffer:
    """Columns (B, G, capacity, E), and the number of written columns as the only element of a list.

    Removing the element is atomic in Python, so only one of two threads can claim the spare capacity.
    """

    columns: Tensor
    written: list[int]


def append_columns(columns: Tensor, new: Tensor) -> Tensor:
    """Concatenate (B, G, C, E) and (B, G, T, E) to (B, G, C + T, E), if possible without a copy."""
    if torch.is_grad_enabled():
        return torch.cat([columns, new], 2)
    joined = extend_columns(columns, new.shape[2])
    joined[:, :, columns.shape[2] :] = new
    return joined


def extend_columns(columns: Tensor, added: int) -> Tensor:
    """Extend (B, G, C, E) to (B, G, C + ``added``, E), with the added columns to be written by the caller.

    The buffer has at most twice as many columns, or `MIN_CAPACITY` more.
    """
    count = columns.shape[2]
    buffer: _Buffer | None = columns.__dict__.get(_NAME)
    if buffer is not None and buffer.columns.is_inference() == torch.is_inference_mode_enabled():
        end = int(columns.storage_offset()) // columns.shape[3] + count  # begins at head 0 of row 0
        if end + added <= buffer.columns.shape[2] and _take(buffer, end):
            return _grown(buffer, end - count, count + added)
    room = count + added + max(count + added, MIN_CAPACITY)
    fresh = columns.new_empty(*columns.shape[:2], room, columns.shape[3])
    fresh[:, :, :count] = columns
    return _grown(_Buffer(fresh, []), 0, count + added)


def keep_last_columns(columns: Tensor, kept: int) -> Tensor:
    """The last columns of (B, G, C, E), which can be appended to like the original."""
    if kept == columns.shape[2]:
        return columns
    last = columns.narrow(2, columns.shape[2] - kept, kept)
    if (buffer := columns.__dict__.get(_NAME)) is not None:
        last.__dict__[_NAME] = buffer
    return last


def _take(buffer: _Buffer, end: int) -> bool:
    """Claim the columns after ``end`` for the caller; false if they are already written."""
    try:
        buffer.written.remove(end)
    except ValueError:
        return False
    return True


def _grown(buffer: _Buffer, begin: int, count: int) -> Tensor:
    joined = buffer.columns.narrow(2, begin, count)
    joined.__dict__[_NAME] = buffer
    buffer.written.append(begin + count)
    return joined
