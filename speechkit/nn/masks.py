"""Padding masks and attention biases of batches."""

from __future__ import annotations

import torch
from torch import Tensor

OUTSIDE = -1e4
"""Attention bias of padding; finite, to avoid NaN for empty items."""


def length_mask(lengths: Tensor, longest: int) -> Tensor:
    """Mask (B, longest) of lengths (B,), true at non-padding positions."""
    return torch.arange(longest, device=lengths.device)[None] < lengths[:, None]


def padding_mask(lengths: Tensor | None, longest: int) -> Tensor | None:
    """As `length_mask`, but None without padding, which allows faster attention."""
    if lengths is None or int(lengths.min()) >= longest:
        return None
    return length_mask(lengths, longest)


def attention_bias(lengths: Tensor, longest: int, dtype: torch.dtype) -> Tensor:
    """Additive attention mask (B, 1, 1, longest) of lengths (B,): 0 inside, -10,000 for padding."""
    outside = ~length_mask(lengths, longest)
    return torch.zeros(outside.shape, dtype=dtype, device=lengths.device).masked_fill(outside, OUTSIDE)[:, None, None]


def padding_bias(lengths: Tensor | None, longest: int, dtype: torch.dtype) -> Tensor | None:
    """As `attention_bias`, but None without padding."""
    if lengths is None or int(lengths.min()) >= longest:
        return None
    return attention_bias(lengths, longest, dtype)
