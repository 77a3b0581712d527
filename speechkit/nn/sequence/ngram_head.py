"""N-gram heads: the mean of the vectors that followed earlier occurrences of the last n tokens.

Source: Akyürek et al. 2024 (In-context language learning), section 7; layers with n = 1, 2, 3 can be inserted in any
stack.

Notation used for tensor shapes: B rows, T positions, C positions of the cache, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.errors import ConfigError
from speechkit.nn.sequence.mixer import MixerConfig, SequenceMixer, State
from speechkit.nn.sequence.rows import Rows


class NgramConfig(MixerConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="ngram"):
    """An n-gram head, by default without a feed-forward.

    Attributes:
        order: n, the number of matching tokens.
    """

    feed_forward: bool = False
    order: int = 1


class NgramHead(SequenceMixer):
    """y_t = W0 mean_j x_j + W1 x_t, over j < t where the n tokens before j equal the last n tokens up to t.

    Raises:
        ConfigError: if the order is 0.
    """

    packs = True
    compares_tokens = True

    def __init__(self, width: int, config: NgramConfig):
        super().__init__(width)
        if not config.order:
            raise ConfigError("ngram layer: order is 0; give 1 or more tokens")
        self.config = config
        self.followers, self.own = nn.Linear(width, width, bias=False), nn.Linear(width, width)

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """``tokens`` (B, C) and ``vectors`` (B, C, D), newest last; the last ``count`` (B,) are of the document."""
        return {
            "tokens": torch.zeros(batch, 0, device=device, dtype=torch.int64),
            "vectors": torch.zeros(batch, 0, self.width, device=device, dtype=dtype),
            "count": torch.zeros(batch, device=device, dtype=torch.int64),
        }

    def state_bytes(self, positions: int) -> int:
        """Linear in the number of positions."""
        return positions * (8 + self.width * self.element_bytes()) + 8

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        assert rows.tokens is not None
        state = self.start(len(x), x.device, x.dtype) if state is None else state
        length, cached = x.shape[1], state["tokens"].shape[1]
        tokens = torch.cat([state["tokens"], rows.tokens], 1)  # (B, C + T)
        vectors = torch.cat([state["vectors"], x], 1)
        # First column of each column's document; cache columns before the count belong to none.
        first = (cached - state["count"])[:, None].expand(-1, cached + length)  # (B, C + T)
        if rows.documents is not None:
            starts = cached + torch.arange(length, device=x.device) - rows.since_border
            new_first = torch.where(rows.ordinals == 0, first[:, cached:], starts)
            first = torch.cat([first[:, :cached], new_first], 1)
        column = torch.arange(cached + length, device=x.device)
        query_column = column[cached:, None]  # (T, 1)
        equal = tokens[:, cached:, None] == tokens[:, None]  # (B, T, C + T): the token of t, that of any column
        for offset in range(1, self.config.order):
            earlier = tokens.roll(offset, 1)
            equal = equal & (earlier[:, cached:, None] == earlier[:, None])
        # The follower j = column + 1 is before t, and both n-grams lie in the document.
        within = (column + 1 < query_column) & (column >= self.config.order - 1 + first[:, cached:, None])
        weights = F.pad((equal & within)[:, :, :-1], (1, 0)).to(x.dtype)  # (B, T, C + T), at j
        mean = weights @ vectors / weights.sum(-1, keepdim=True).clamp_min(1)
        mixed: Tensor = self.followers(mean) + self.own(x)
        if not keep:
            return mixed, {}
        count = length + cached - first[:, -1]
        if rows.ragged(length):
            assert rows.lengths is not None
            last = cached + rows.lengths.to(x.device) - 1
            count = last + 1 - first.gather(1, last.clamp_min(0)[:, None])[:, 0]
            count = torch.where(rows.lengths.to(x.device) > 0, count, state["count"])
        kept = cached + rows.longest(length)
        tokens, vectors = rows.newest(tokens, cached, kept), rows.newest(vectors, cached, kept)
        return mixed, {"tokens": tokens, "vectors": vectors, "count": count}

    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """See `SequenceMixer.step`."""
        if tokens is None:
            raise ValueError("NgramHead needs tokens; give them with the vectors")
        mixed, state = self.mix(x[:, None], state, Rows(tokens=tokens[:, None]), keep=True)
        return mixed[:, 0], state
