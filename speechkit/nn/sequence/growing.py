"""Columns that grow at their end: what an attention layer remembers of each position, one step after another.

Columns lie in a buffer with room behind them. Whoever goes on from a state writes into that room if nobody has before;
who comes second, as another beam does, gets columns of their own. So no state changes, and a step copies nothing on
most of its turns.

Notation used for tensor shapes: B rows, G heads of keys, C columns, T new ones, E width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_ROOM = 32
_NAME = "growing_columns"


@dataclass(frozen=True)
class _Buffer:
    """Columns (B, G, more than C, E) and how many of them are written, as the one number of a list.

    Taking the number out is one operation of Python's, so that of two threads only one gets the room.
    """

    columns: Tensor
    written: list[int]


def append_columns(columns: Tensor, new: Tensor) -> Tensor:
    """(B, G, C, E) and (B, G, T, E) joined: (B, G, C + T, E), a part of a larger tensor unless gradients are kept."""
    if torch.is_grad_enabled():
        return torch.cat([columns, new], 2)
    joined = extend_columns(columns, new.shape[2])
    joined[:, :, columns.shape[2] :] = new
    return joined


def extend_columns(columns: Tensor, added: int) -> Tensor:
    """(B, G, C, E) as (B, G, C + ``added``, E), of which the last are still to be written, by the caller alone.

    The tensor that it is a part of holds at most twice as many columns, or `LEAST_ROOM` more.
    """
    count = columns.shape[2]
    buffer: _Buffer | None = columns.__dict__.get(_NAME)
    if buffer is not None and buffer.columns.is_inference() == torch.is_inference_mode_enabled():
        end = int(columns.storage_offset()) // columns.shape[3] + count  # begins at head 0 of row 0
        if end + added <= buffer.columns.shape[2] and _take(buffer, end):
            return _grown(buffer, end - count, count + added)
    room = count + added + max(count + added, LEAST_ROOM)
    fresh = columns.new_empty(*columns.shape[:2], room, columns.shape[3])
    fresh[:, :, :count] = columns
    return _grown(_Buffer(fresh, []), 0, count + added)


def keep_last_columns(columns: Tensor, kept: int) -> Tensor:
    """The last columns of (B, G, C, E), which can grow as these can."""
    if kept == columns.shape[2]:
        return columns
    last = columns.narrow(2, columns.shape[2] - kept, kept)
    if (buffer := columns.__dict__.get(_NAME)) is not None:
        last.__dict__[_NAME] = buffer
    return last


def _take(buffer: _Buffer, end: int) -> bool:
    """Whether what is written ends there; then what is behind it is the caller's."""
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
