"""JRT-RNN: linear attention with a Taylor feature map, and separate keys and values for a non-causal prefix.

Without a prefix it is Based's linear attention. Prefix positions contribute to the causal sum and to a sum that every
position of the document sees in full; so outputs inside the prefix depend on later prefix positions.

Source: Arora et al. 2024 (JRT), sections 3.2 and 3.3; Arora et al. 2024 (Based) for the feature map. Their stacks
include short convolutions and sliding-window attention between such layers.

Notation used for tensor shapes: B rows, T positions, D width, H heads, E width of a head, N width of queries and keys
of a head, P = 1 + N + N N features, V vocabulary.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.errors import ConfigError
from speechkit.nn.masks import length_mask
from speechkit.nn.sequence.mixer import MixerConfig, SequenceMixer, State, accumulated, checked_width
from speechkit.nn.sequence.rows import Rows

CHUNK = 128
"""Positions per chunk: quadratic attention inside a chunk, summed features for earlier chunks."""


class JrtConfig(MixerConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="jrt"):
    """Prefix linear attention.

    Attributes:
        heads: H.
        key_width: N.
    """

    heads: int = 4
    key_width: int = 16


def taylor_features(x: Tensor) -> Tensor:
    """(…, N) to (…, 1 + N + N N), with inner products 1 + z + z^2 / 2 for z = q k / sqrt(N)."""
    width = x.shape[-1]
    squares = (x[..., :, None] * x[..., None, :]).flatten(-2) / math.sqrt(2 * width)
    return torch.cat([torch.ones_like(x[..., :1]), x / width**0.25, squares], -1)


class PrefixLinearAttention(SequenceMixer):
    """Linear attention with second-order Taylor weights and a state of constant size.

    Raises:
        ConfigError: if the width is not a multiple of the heads, or ``key_width`` is 0.
    """

    reads_prefix = True

    def __init__(self, width: int, config: JrtConfig):
        super().__init__(width)
        self.config = config
        self.head_width = checked_width(config, width, config.heads, "heads")
        if not config.key_width:
            raise ConfigError("jrt layer: key_width is 0; give 1 or more")
        keys = config.heads * config.key_width
        self.query, self.key, self.value = nn.Linear(width, keys), nn.Linear(width, keys), nn.Linear(width, width)
        self.prefix_key, self.prefix_value = nn.Linear(width, keys), nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    @property
    def features(self) -> int:
        """Number of features P."""
        return 1 + self.config.key_width + self.config.key_width**2

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """``weight`` (B, H, P), the sum of features, and ``weighted`` (B, H, P, E), that of features times values."""
        weight = torch.zeros(batch, self.config.heads, self.features, device=device, dtype=accumulated(dtype))
        return {"weight": weight, "weighted": weight[..., None].repeat(1, 1, 1, self.head_width)}

    def state_bytes(self, positions: int) -> int:
        """Constant in the number of positions."""
        return self.config.heads * self.features * (1 + self.head_width) * self.element_bytes(accumulated=True)

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        length = x.shape[1]
        queries, keys, values = self._heads(self.query, x), self._heads(self.key, x), self._heads(self.value, x)
        sums = self.start(len(x), x.device, x.dtype) if state is None else state
        weight, weighted = sums["weight"], sums["weighted"]
        if rows.prefix is not None:
            # Features outside the prefix are masked, since those of a zero key are not zero.
            features = taylor_features(self._heads(self.prefix_key, x)) * rows.prefix[:, None, :, None]
            weight = weight + features.sum(2)
            weighted = weighted + features.mT @ self._heads(self.prefix_value, x)
        inside = None
        if rows.ragged(length):
            assert rows.lengths is not None
            inside = length_mask(rows.lengths.to(x.device), length)[:, None, :, None]
        outputs = []
        fresh = state is None and rows.prefix is None
        for begin in range(0, length, CHUNK):
            query, key, value = (part[:, :, begin : begin + CHUNK] for part in (queries, keys, values))
            products = query @ key.mT * self.config.key_width**-0.5
            weights = (1 + products + products.square() / 2).tril()  # (B, H, C, C)
            numerator, denominator = weights @ value, weights.sum(-1)
            if begin or not fresh:
                features = taylor_features(query)
                numerator = numerator + features @ weighted
                denominator = denominator + (features @ weight[..., None])[..., 0]
            outputs.append(numerator / denominator[..., None])
            if keep or begin + CHUNK < length:
                features = taylor_features(key)
                features = features if inside is None else features * inside[:, :, begin : begin + CHUNK]
                weight, weighted = weight + features.sum(2), weighted + features.mT @ value
        mixed = self.out(torch.cat(outputs, 2).transpose(1, 2).flatten(2).to(x.dtype))
        return mixed, {"weight": weight, "weighted": weighted} if keep else {}

    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """See `SequenceMixer.step`."""
        kind = accumulated(x.dtype)
        keys, values = (self.config.heads, self.config.key_width), (self.config.heads, self.head_width)
        features = taylor_features(self.key(x).view(-1, *keys).to(kind))  # (B, H, P)
        weight = state["weight"] + features
        weighted = state["weighted"] + features[..., None] * self.value(x).view(-1, *values).to(kind)[:, :, None]
        query = taylor_features(self.query(x).view(-1, *keys).to(kind))[:, :, None]  # (B, H, 1, P)
        mean = (query @ weighted) / (query @ weight[..., None])
        return self.out(mean.flatten(1).to(x.dtype)), {"weight": weight, "weighted": weighted}

    def _heads(self, projection: nn.Linear, x: Tensor) -> Tensor:
        """(B, T, D) to (B, H, T, …), at least float32."""
        heads: Tensor = projection(x).view(*x.shape[:2], self.config.heads, -1).transpose(1, 2)
        return heads.to(accumulated(x.dtype))


def hide_tokens(
    tokens: Tensor, prefix: Tensor, hidden_token: int, share: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Replace a random share of the prefix (B, T) of tokens (B, T) by ``hidden_token``; returns also the mask."""
    drawn = torch.rand(tokens.shape, generator=generator, device=tokens.device)
    hidden = prefix & (drawn < share)
    return tokens.masked_fill(hidden, hidden_token), hidden


def prefix_loss(
    logits: Tensor, tokens: Tensor, prefix: Tensor, hidden: Tensor, lengths: Tensor | None = None, weight: float = 0.25
) -> Tensor:
    """Next-token loss after the prefix plus ``weight`` times the masked-token loss inside it, in nats per token.

    Args:
        logits: (B, T, V), of the next token at causal positions, of the token itself at hidden ones.
        tokens: original tokens (B, T).
        prefix: mask (B, T) of bidirectional positions, which are excluded from next-token prediction.
        hidden: mask (B, T) of replaced prefix tokens, see `hide_tokens`.
        lengths: (B,).
        weight: of the masked-token loss; the sum is not renormalised.
    """
    inside = torch.ones_like(prefix) if lengths is None else length_mask(lengths, tokens.shape[1])
    predicted = (inside & ~prefix)[:, 1:]
    next_token_loss = F.cross_entropy(logits[:, :-1][predicted], tokens[:, 1:][predicted], reduction="sum")
    masked_loss = F.cross_entropy(logits[hidden], tokens[hidden], reduction="sum")
    return next_token_loss / predicted.sum().clamp_min(1) + weight * masked_loss / hidden.sum().clamp_min(1)
