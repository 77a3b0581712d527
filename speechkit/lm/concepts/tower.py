"""Building blocks of concept models: a causal reader, and a conditioned tower that processes each position alone.

Notation used for tensor shapes: B documents, T places, D width of concepts, W width inside, H heads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.lm.concepts.config import TowerConfig
from speechkit.nn.sequence.softmax_attention import AttentionConfig
from speechkit.nn.sequence.stack import GatedFeedForward, Stack, StackConfig

PARTS = 9
"""What a condition sets in a layer: shift, scale and gate of its place's own part, the context's and feed-forward."""


class Reader(nn.Module):
    """Concepts (B, T, D) to what is known behind each: (B, T, W); none sees a later one."""

    def __init__(self, concept_width: int, config: TowerConfig):
        super().__init__()
        self.enter = nn.Linear(concept_width, config.width)
        self.stack = Stack(
            StackConfig(
                layers=(AttentionConfig(heads=config.heads),) * config.layers,
                width=config.width,
                feed_width=config.feed_width,
                dropout=config.dropout,
            )
        )

    def forward(self, concepts: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, W); padding behind a document's end reaches nothing before it."""
        read: Tensor = self.stack(self.enter(concepts))
        return read


def behind(known: Tensor) -> Tensor:
    """What is known before each place, (B, T, W): zeros, then what is known behind all but the last."""
    return torch.cat([known.new_zeros(len(known), 1, known.shape[2]), known[:, :-1]], 1)


class ConditionedLayer(nn.Module):
    """A place's own values, what it asks of the context, and a feed-forward: all scaled, shifted and gated.

    Attention of a place on itself alone has the weight 1, whatever its query: values are all there is of it.
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
        self.set = nn.Linear(width, PARTS * width)
        self.dropout = nn.Dropout(config.dropout)
        # Gates begin closed: at first a layer passes on what it gets.
        nn.init.zeros_(self.set.weight)
        nn.init.zeros_(self.set.bias)

    def forward(self, x: Tensor, condition: Tensor, context: Tensor, seen: Tensor) -> Tensor:
        """(B, T, W), condition (B, T, W), context (B, T, W), seen (B, T, T) -> (B, T, W)."""
        parts = self.set(F.silu(condition)).chunk(PARTS, -1)
        blocks: tuple[Callable[[Tensor], Tensor], ...] = (
            self.own,
            lambda each: self._asked(each, context, seen),
            self.feed,
        )
        for number, (norm, block) in enumerate(zip(self.norms, blocks, strict=True)):
            shift, scale, gate = parts[3 * number : 3 * number + 3]
            x = x + gate * self.dropout(block((1 + scale) * norm(x) + shift))
        return x

    def _asked(self, x: Tensor, context: Tensor, seen: Tensor) -> Tensor:
        queries, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(x), self.key(context), self.value(context))
        )
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen[:, None])
        asked: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return asked


class ConditionedTower(nn.Module):
    """Layers that work on each place alone, ask what is known before it, and obey a condition.

    Args:
        concept_width: D.
        config: sizes; the reader's layers count for nothing here.
        layers: of this tower.
    """

    def __init__(self, concept_width: int, config: TowerConfig, layers: int):
        super().__init__()
        self.enter = nn.Linear(concept_width, config.width)
        self.layers = nn.ModuleList(ConditionedLayer(config) for _ in range(layers))
        self.norm = nn.RMSNorm(config.width)

    def forward(self, x: Tensor, condition: Tensor, known: Tensor, blind: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, W).

        Args:
            x: what each place works on, concept or not.
            condition: (B, T, W)
            known: (B, T, W) behind each concept; place n asks a vector of zeros, then what is known behind those
                before it.
            blind: (B, T) true at places that ask the zeros alone.
        """
        batch, places, _ = known.shape
        context = behind(known)
        seen = torch.ones(places, places, dtype=torch.bool, device=x.device).tril()[None].expand(batch, -1, -1)
        if blind is not None:
            first = torch.arange(places, device=x.device) == 0
            seen = seen & (first | ~blind[..., None])
        hidden = self.enter(x)
        for layer in self.layers:
            hidden = layer(hidden, condition, context, seen)
        normalised: Tensor = self.norm(hidden)
        return normalised


def draw_blind(lengths: Tensor, places: int, share: float) -> Tensor:
    """(B, T) places of documents (B,) to learn without context: floor((length - 1) share), never the first."""
    counts = ((lengths - 1) * share).floor().long()
    place = torch.arange(places, device=lengths.device)
    order = torch.rand(len(lengths), places, device=lengths.device)
    order = order.masked_fill((place == 0) | (place >= lengths[:, None]), 2.0)
    return order.argsort(1).argsort(1) < counts[:, None]
