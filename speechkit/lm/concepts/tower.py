"""Building blocks of concept models: a causal context encoder, and a conditioned tower with cross-attention to it.

Notation used for tensor shapes: B documents, T positions, D concept width, W hidden width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.lm.concepts.config import TowerConfig
from speechkit.nn.sequence.softmax_attention import AttentionConfig
from speechkit.nn.sequence.stack import GatedFeedForward, Stack, StackConfig

MODULATIONS = 9
"""Shift, scale and gate of each of a layer's three blocks, computed from the condition."""


class Reader(nn.Module):
    """Causal transformer from concepts (B, T, D) to context vectors (B, T, W)."""

    def __init__(self, concept_width: int, config: TowerConfig):
        super().__init__()
        self.input_proj = nn.Linear(concept_width, config.width)
        self.stack = Stack(
            StackConfig(
                layers=(AttentionConfig(heads=config.heads),) * config.layers,
                width=config.width,
                feed_width=config.feed_width,
                dropout=config.dropout,
            )
        )

    def forward(self, concepts: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, W); causal, so padding at the end changes nothing before it."""
        context: Tensor = self.stack(self.input_proj(concepts))
        return context


def shift_right(context: Tensor) -> Tensor:
    """Context vectors (B, T, W) delayed by one position, zeros first: those of the concepts before each position."""
    return torch.cat([context.new_zeros(len(context), 1, context.shape[2]), context[:, :-1]], 1)


class ConditionedLayer(nn.Module):
    """Self-attention, cross-attention to the context and a feed-forward network, each with adaptive norm and gate.

    Self-attention over a single position always has the weight 1, so it is only the value and output projections.
    """

    def __init__(self, config: TowerConfig):
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norms = nn.ModuleList(nn.RMSNorm(width, elementwise_affine=False) for _ in range(3))
        self.own = nn.Sequential(nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False))
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.feed = GatedFeedForward(width, config.feed_width)
        self.modulation = nn.Linear(width, MODULATIONS * width)
        self.dropout = nn.Dropout(config.dropout)
        # Gates start at zero, so that each layer starts as the identity.
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """(B, T, W), condition (B, T, W), context (B, T, W), mask (B, T, T) -> (B, T, W)."""
        parts = self.modulation(F.silu(condition)).chunk(MODULATIONS, -1)
        blocks: tuple[Callable[[Tensor], Tensor], ...] = (
            self.own,
            lambda queries: self._cross_attend(queries, context, mask),
            self.feed,
        )
        for number, (norm, block) in enumerate(zip(self.norms, blocks, strict=True)):
            shift, scale, gate = parts[3 * number : 3 * number + 3]
            x = x + gate * self.dropout(block((1 + scale) * norm(x) + shift))
        return x

    def _cross_attend(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        queries, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(x), self.key(context), self.value(context))
        )
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask[:, None])
        output: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return output


class ConditionedTower(nn.Module):
    """Conditioned layers that process each position alone, with cross-attention to the context before it.

    Args:
        concept_width: D.
        config: sizes of a layer; its number of layers is not used.
        layers: number of layers.
    """

    def __init__(self, concept_width: int, config: TowerConfig, layers: int):
        super().__init__()
        self.input_proj = nn.Linear(concept_width, config.width)
        self.layers = nn.ModuleList(ConditionedLayer(config) for _ in range(layers))
        self.norm = nn.RMSNorm(config.width)

    def forward(self, x: Tensor, condition: Tensor, context: Tensor, blind: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, W).

        Args:
            x: input of each position.
            condition: (B, T, W)
            context: (B, T, W) of each concept; position n attends to a zero vector and to those before n.
            blind: (B, T) true at positions that attend to the zero vector only.
        """
        batch, count, _ = context.shape
        shifted = shift_right(context)
        mask = torch.ones(count, count, dtype=torch.bool, device=x.device).tril()[None].expand(batch, -1, -1)
        if blind is not None:
            first = torch.arange(count, device=x.device) == 0
            mask = mask & (first | ~blind[..., None])
        hidden = self.input_proj(x)
        for layer in self.layers:
            hidden = layer(hidden, condition, shifted, mask)
        normalised: Tensor = self.norm(hidden)
        return normalised


def draw_blind(lengths: Tensor, count: int, share: float) -> Tensor:
    """(B, T) positions of documents (B,) to train without context: floor((length - 1) share), never the first."""
    counts = ((lengths - 1) * share).floor().long()
    positions = torch.arange(count, device=lengths.device)
    order = torch.rand(len(lengths), count, device=lengths.device)
    order = order.masked_fill((positions == 0) | (positions >= lengths[:, None]), 2.0)
    return order.argsort(1).argsort(1) < counts[:, None]
