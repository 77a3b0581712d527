"""Transformer layers with rotary positions, local convolutions and optional conditioning by adaptive layer norm.

Source: Su et al. 2021 (rotary positions), Peebles and Xie 2023 (adaptive layer norm, zero-initialised), Chen et al.
2024 (one projection of the condition for all layers), Liu et al. 2022 (depthwise convolution first).

Notation used for tensor shapes: B batch, T positions, D width, H heads, C width of the condition.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.nn.masks import OUTSIDE
from speechkit.nn.positions import Rotation

PARTS = 6
"""Modulation parameters of a layer: shift, scale and gate of attention and of feed-forward."""


class SelfAttention(nn.Module):
    """Multi-head self-attention with optional rotary positions."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, rotation: Rotation | None, bias: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D); ``bias`` (B, 1, 1, T) is added to the scores."""
        batch, frames, width = x.shape
        qkv = self.qkv(x).view(batch, frames, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        queries, keys, values = qkv  # (B, H, T, D / H)
        if rotation is not None:
            queries, keys = rotation(queries), rotation(keys)
        if self.training and x.device.type == "cpu":
            # Explicit products are faster than the fused kernel on a CPU at these lengths, forward and backward.
            scores = (queries * (width // self.heads) ** -0.5) @ keys.transpose(-1, -2)
            mixed = (scores if bias is None else scores + bias.to(scores.dtype)).softmax(-1) @ values
        else:
            mixed = F.scaled_dot_product_attention(
                queries, keys, values, attn_mask=None if bias is None else bias.to(queries.dtype)
            )
        projected: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, frames, width))
        return projected


class TransformerLayer(nn.Module):
    """Pre-norm residual layer: attention, then a depthwise convolution with a feed-forward.

    Args:
        width: D.
        heads: of the attention.
        feed_width: inner width of the feed-forward.
        kernel: of the convolution, odd; 1 for none.
        conditioned: whether a condition sets shift, scale and gate.
        dropout: of the residual branches.
    """

    def __init__(
        self, width: int, heads: int, feed_width: int, kernel: int = 1, conditioned: bool = False, dropout: float = 0.0
    ):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, elementwise_affine=not conditioned)
        self.attention = SelfAttention(width, heads)
        self.feed_norm = nn.LayerNorm(width, elementwise_affine=not conditioned)
        self.local = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width) if kernel > 1 else None
        self.feed_in = nn.Linear(width, feed_width)
        self.feed_out = nn.Linear(feed_width, width)
        self.dropout = nn.Dropout(dropout)
        # Gates are zero-initialised: the layer starts as the identity.
        self.set = nn.Parameter(torch.zeros(PARTS, width)) if conditioned else None

    def forward(
        self, x: Tensor, rotation: Rotation, bias: Tensor | None, keep: Tensor | None, condition: Tensor | None = None
    ) -> Tensor:
        """(B, T, D) -> (B, T, D).

        ``keep`` (B, T, 1) is 0 for padding, which the convolution must not see; ``condition`` (B, 6, D).
        """
        parts = None if self.set is None or condition is None else (condition + self.set)[:, :, None].unbind(1)
        attended = self.attention_norm(x)
        if parts is not None:
            attended = attended * (1.0 + parts[1]) + parts[0]
        attended = self.dropout(self.attention(attended, rotation, bias))
        x = x + (attended if parts is None else attended * parts[2])
        fed = self.feed_norm(x)
        if parts is not None:
            fed = fed * (1.0 + parts[4]) + parts[3]
        if self.local is not None:
            fed = fed if keep is None else fed * keep
            fed = fed + self.local(fed.transpose(1, 2)).transpose(1, 2)
        fed = self.dropout(self.feed_out(F.gelu(self.feed_in(fed))))
        output: Tensor = x + (fed if parts is None else fed * parts[5])
        return output


class Transformer(nn.Module):
    """A stack of layers over padded batches; padding does not affect the result.

    Args:
        width: D.
        layers: number of layers.
        heads: attention heads per layer.
        feed_width: inner width of the feed-forwards.
        kernel: of the convolutions, odd.
        condition_width: C of the condition vector of an item; 0: unconditioned.
        dropout: of the residual branches.

    Raises:
        ValueError: if the head width is odd or fractional, or the kernel is even.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        feed_width: int,
        kernel: int = 1,
        condition_width: int = 0,
        dropout: float = 0.0,
    ):
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} must be a multiple of twice the heads, {heads}")
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {kernel}")
        self.width, self.heads = width, heads
        conditioned = condition_width > 0
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, feed_width, kernel, conditioned, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.condition = nn.Linear(condition_width, PARTS * width) if condition_width else None
        if self.condition is not None:
            nn.init.zeros_(self.condition.weight)
            nn.init.zeros_(self.condition.bias)

    def forward(
        self,
        x: Tensor,
        inside: Tensor | None = None,
        condition: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D), with a final layer norm.

        Args:
            x: (B, T, D)
            inside: (B, T), false for padding; default: no padding.
            condition: (B, C), for conditioned layers.
            positions: (T,) or (B, T); default: 0, 1, …
        """
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device)
        rotation = Rotation(positions, self.width // self.heads)
        bias = keep = None
        if inside is not None:
            bias = torch.zeros_like(inside, dtype=x.dtype).masked_fill(~inside, OUTSIDE)[:, None, None]
            keep = inside[..., None].to(x.dtype)
        if self.condition is not None and condition is not None:
            condition = self.condition(F.silu(condition)).view(len(x), PARTS, self.width)
        for layer in self.layers:
            x = layer(x, rotation, bias, keep, condition)
        normalised: Tensor = self.norm(x)
        return normalised
