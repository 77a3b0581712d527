"""JRT-RNN: linear attention with a Taylor feature map, whose second set of keys and values reads a prefix as a whole.

Without a prefix it is Based's linear attention. A prefix is in both sums: the causal one, and the one that every
position of the document sees whole; so an output inside the prefix has seen what follows it there.

Source: Arora et al. 2024 (JRT), sections 3.2 and 3.3; Arora et al. 2024 (Based) for the feature map. Stacks of theirs
place short convolutions and windows of attention between such layers.

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
"""Positions that see each other by their products; those before are seen by the sums of their features."""


class JrtConfig(MixerConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="jrt"):
    """Prefix linear attention.

    Attributes:
        heads: H.
        key_width: N.
    """

    heads: int = 4
    key_width: int = 16


def taylor_features(x: Tensor) -> Tensor:
    """(…, N) to (…, 1 + N + N N), whose products are 1 + z + z^2 / 2 where z = q k / sqrt(N)."""
    width = x.shape[-1]
    squares = (x[..., :, None] * x[..., None, :]).flatten(-2) / math.sqrt(2 * width)
    return torch.cat([torch.ones_like(x[..., :1]), x / width**0.25, squares], -1)


class PrefixLinearAttention(SequenceMixer):
    """A mean of values whose weights are the Taylor series of an exponential, kept as sums of constant size.

    Raises:
        ConfigError: if the width of a head is not whole, or keys have none.
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
        """P."""
        return 1 + self.config.key_width + self.config.key_width**2

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """``weight`` (B, H, P) and ``weighted`` (B, H, P, E): sums of features, and of their products with values."""
        weight = torch.zeros(batch, self.config.heads, self.features, device=device, dtype=accumulated(dtype))
        return {"weight": weight, "weighted": weight[..., None].repeat(1, 1, 1, self.head_width)}

    def state_bytes(self, positions: int) -> int:
        """The same after any number of positions."""
        return self.config.heads * self.features * (1 + self.head_width) * self.element_bytes(accumulated=True)

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        length = x.shape[1]
        queries, keys, values = self._heads(self.query, x), self._heads(self.key, x), self._heads(self.value, x)
        sums = self.start(len(x), x.device, x.dtype) if state is None else state
        weight, weighted = sums["weight"], sums["weighted"]
        if rows.prefix is not None:
            # What is outside has no feature at all: those of a zero key are not zero.
            features = taylor_features(self._heads(self.prefix_key, x)) * rows.prefix[:, None, :, None]
            weight = weight + features.sum(2)
            weighted = weighted + features.mT @ self._heads(self.prefix_value, x)
        inside = None
        if rows.ragged(length):
            assert rows.lengths is not None
            inside = length_mask(rows.lengths.to(x.device), length)[:, None, :, None]
        made = []
        fresh = state is None and rows.prefix is None
        for begin in range(0, length, CHUNK):
            query, key, value = (part[:, :, begin : begin + CHUNK] for part in (queries, keys, values))
            products = query @ key.mT * self.config.key_width**-0.5
            near = (1 + products + products.square() / 2).tril()  # (B, H, C, C)
            above, below = near @ value, near.sum(-1)
            if begin or not fresh:
                features = taylor_features(query)
                above = above + features @ weighted
                below = below + (features @ weight[..., None])[..., 0]
            made.append(above / below[..., None])
            if keep or begin + CHUNK < length:
                features = taylor_features(key)
                features = features if inside is None else features * inside[:, :, begin : begin + CHUNK]
                weight, weighted = weight + features.sum(2), weighted + features.mT @ value
        mixed = self.out(torch.cat(made, 2).transpose(1, 2).flatten(2).to(x.dtype))
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
        """(B, T, D) to (B, H, T, …), float32 at least."""
        heads: Tensor = projection(x).view(*x.shape[:2], self.config.heads, -1).transpose(1, 2)
        return heads.to(accumulated(x.dtype))


def hide_tokens(
    tokens: Tensor, prefix: Tensor, hidden_token: int, share: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Tokens (B, T) with a share of the prefix (B, T) replaced by one token, and which were (B, T)."""
    drawn = torch.rand(tokens.shape, generator=generator, device=tokens.device)
    hidden = prefix & (drawn < share)
    return tokens.masked_fill(hidden, hidden_token), hidden


def prefix_loss(
    logits: Tensor, tokens: Tensor, prefix: Tensor, hidden: Tensor, lengths: Tensor | None = None, weight: float = 0.25
) -> Tensor:
    """Nats a next token behind the prefix, and ``weight`` times those a hidden token inside it.

    Args:
        logits: (B, T, V), of the next token at positions that predict, of the token itself at hidden ones.
        tokens: (B, T) before any was hidden.
        prefix: (B, T) true at positions read in both directions; what follows one of them there is never predicted.
        hidden: (B, T) true at tokens of the prefix that were replaced, see `hide_tokens`.
        lengths: (B,).
        weight: of hidden tokens; the two are not divided by its sum with 1.
    """
    inside = torch.ones_like(prefix) if lengths is None else length_mask(lengths, tokens.shape[1])
    predicted = (inside & ~prefix)[:, 1:]
    following = F.cross_entropy(logits[:, :-1][predicted], tokens[:, 1:][predicted], reduction="sum")
    recovered = F.cross_entropy(logits[hidden], tokens[hidden], reduction="sum")
    return following / predicted.sum().clamp_min(1) + weight * recovered / hidden.sum().clamp_min(1)
