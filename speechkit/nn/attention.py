"""Self-attention with fast bfloat16 training on a CPU.

PyTorch's fused attention never materialises the attention matrix, which saves memory, and time at float32 or for long
items; at bfloat16 two explicit matrix products are faster (`benchmarks.transformer_step`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MAX_FRAMES = 2000
"""Longer items use the fused attention, to bound memory."""


class Attention(nn.MultiheadAttention):
    """`torch.nn.MultiheadAttention` (B, T, D) without dropout, with explicit products in bfloat16 training on a CPU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, batch_first=True)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *more: Any, **named: Any) -> tuple[Tensor, Any]:
        """Attention output (B, T, D), and attention weights, None for explicit products."""
        if self.training and query is key and key is value and _favours_products(query):
            return self._products(query, named.get("key_padding_mask")), None
        output: tuple[Tensor, Any] = super().forward(query, key, value, *more, **named)
        return output

    def _products(self, frames: Tensor, padding: Tensor | None) -> Tensor:
        """Attention by explicit products; ``padding`` (B, T) is added to the scores, minus infinity for padding."""
        projected = nn.functional.linear(frames, self.in_proj_weight, self.in_proj_bias)
        qkv = projected.view(*frames.shape[:2], 3, self.num_heads, self.head_dim)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, T, D / heads) each
        scores = (queries * self.head_dim**-0.5) @ keys.transpose(-1, -2)  # (B, heads, T, T)
        if padding is not None:
            scores = scores + padding[:, None, None].to(scores.dtype)
        attended = torch.softmax(scores, -1) @ values
        output: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return output


def _favours_products(frames: Tensor) -> bool:
    if frames.device.type != "cpu" or frames.shape[1] > MAX_FRAMES:
        return False
    precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else frames.dtype
    return precision == torch.bfloat16
