"""Which positions of a padded batch are real."""

from __future__ import annotations

import torch
from torch import Tensor

OUTSIDE = -1e4
"""Added to the attention scores of padding; finite, so that an item without frames gives no NaN."""


def length_mask(lengths: Tensor, longest: int) -> Tensor:
    """(B,) lengths to (B, longest), true at the positions that each item has."""
    return torch.arange(longest, device=lengths.device)[None] < lengths[:, None]


def padding_mask(lengths: Tensor | None, longest: int) -> Tensor | None:
    """As `length_mask`, but None where nothing is padded, so that whole batches pay for no mask."""
    if lengths is None or int(lengths.min()) >= longest:
        return None
    return length_mask(lengths, longest)


def attention_bias(lengths: Tensor, longest: int, dtype: torch.dtype) -> Tensor:
    """(B,) lengths to what attention adds to its scores, (B, 1, 1, longest): 0 inside, -10,000 outside."""
    outside = ~length_mask(lengths, longest)
    return torch.zeros(outside.shape, dtype=dtype, device=lengths.device).masked_fill(outside, OUTSIDE)[:, None, None]


def padding_bias(lengths: Tensor | None, longest: int, dtype: torch.dtype) -> Tensor | None:
    """As `attention_bias`, but None where nothing is padded."""
    if lengths is None or int(lengths.min()) >= longest:
        return None
    return attention_bias(lengths, longest, dtype)
