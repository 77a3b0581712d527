"""Attention that trains fast in bfloat16 on a CPU.

PyTorch's own never writes the matrix of weights down. That spares memory and time at float32 or where items are long;
at bfloat16 two plain products of matrices are faster (`benchmarks.transformer_step`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LONGEST = 2000
"""Frames: the weights of longer items would take more memory than time is worth."""


class Attention(nn.MultiheadAttention):
    """Self-attention of items (B, T, D) with the parameters of `torch.nn.MultiheadAttention`, and no dropout.

    It is that class but while training on a processor at bfloat16.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, batch_first=True)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *more: Any, **named: Any) -> tuple[Tensor, Any]:
        """What attention gives (B, T, D), and no weights where it is our own."""
        if self.training and query is key and key is value and _favours_products(query):
            return self._products(query, named.get("key_padding_mask")), None
        answer: tuple[Tensor, Any] = super().forward(query, key, value, *more, **named)
        return answer

    def _products(self, frames: Tensor, padding: Tensor | None) -> Tensor:
        """``padding`` (B, T) is added to the scores: minus infinity behind an item's end."""
        entered = nn.functional.linear(frames, self.in_proj_weight, self.in_proj_bias)
        apart = entered.view(*frames.shape[:2], 3, self.num_heads, self.head_dim)
        queries, keys, values = apart.permute(2, 0, 3, 1, 4)  # (B, heads, T, D / heads) each
        scores = (queries * self.head_dim**-0.5) @ keys.transpose(-1, -2)  # (B, heads, T, T)
        if padding is not None:
            scores = scores + padding[:, None, None].to(scores.dtype)
        attended = torch.softmax(scores, -1) @ values
        made: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return made


def _favours_products(frames: Tensor) -> bool:
    if frames.device.type != "cpu" or frames.shape[1] > LONGEST:
        return False
    precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else frames.dtype
    return precision == torch.bfloat16
