"""Softmax attention: rotary positions, grouped heads, a sliding window, a cache, packed documents, prefixes.

Source: Vaswani et al. 2017; Su et al. 2021 (rotary positions); Ainslie et al. 2023 (groups of heads share their keys);
Beltagy et al. 2020 (window).

Notation used for tensor shapes: B rows, T positions, C positions of the cache, D width, H heads, G heads of keys and
values, E width of a head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.errors import ConfigError
from speechkit.nn.positions import Rotation, angles_at
from speechkit.nn.sequence.growing import append_columns, extend_columns, keep_last_columns
from speechkit.nn.sequence.mixer import MixerConfig, SequenceMixer, State, checked_width
from speechkit.nn.sequence.rows import Rows, flat_array, numbers


class AttentionConfig(MixerConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="attention"):
    """Softmax attention.

    Attributes:
        heads: H.
        key_heads: G, which divides H; 0: as many.
        window: how many positions one sees, itself included; 0: all before it.
        period: longest period of the rotary positions.
        rotary: whether positions turn queries and keys; without, attention sees an order by its mask alone.
        bias: whether projections have one.
        persistent: learnt vectors that every position sees besides, at no position.
    """

    heads: int = 4
    key_heads: int = 0
    window: int = 0
    period: float = 10_000.0
    rotary: bool = True
    bias: bool = False
    persistent: int = 0


class SoftmaxAttention(SequenceMixer):
    """Each position is a mean of values, weighted by the softmax of its query's products with keys.

    Raises:
        ConfigError: if the width of a head is odd or not whole, or heads cannot be grouped.
    """

    packs = True
    reads_prefix = True
    reads_trees = True

    def __init__(self, width: int, config: AttentionConfig):
        super().__init__(width)
        self.config = config
        self.heads, self.key_heads = config.heads, config.key_heads or config.heads
        self.head_width = checked_width(config, width, config.heads, "heads")
        if self.heads % self.key_heads:
            raise ConfigError(f"attention layer: key_heads is {self.key_heads}; it must divide {self.heads} heads")
        if config.rotary and self.head_width % 2:
            raise ConfigError(f"attention layer: a head is {self.head_width} wide; rotary positions need an even width")
        self.query = nn.Linear(width, width, bias=config.bias)
        self.key = nn.Linear(width, self.key_heads * self.head_width, bias=config.bias)
        self.value = nn.Linear(width, self.key_heads * self.head_width, bias=config.bias)
        self.out = nn.Linear(width, width, bias=config.bias)
        self.learnt = nn.Parameter(torch.randn(config.persistent, width)) if config.persistent else None

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """Keys, already turned, and values (B, G, C, E), the newest last; ``count`` (B,): positions of the document.

        Where ``count`` is less than C, the columns before have no key. See `append_columns` for the memory of keys and
        values.
        """
        empty = torch.zeros(batch, self.key_heads, 0, self.head_width, device=device, dtype=dtype)
        return {"keys": empty, "values": empty, "count": torch.zeros(batch, dtype=torch.int64, device=device)}

    def state_bytes(self, positions: int) -> int:
        """Grows with positions up to the window."""
        return 2 * self._kept(positions) * self.key_heads * self.head_width * self.element_bytes() + 8

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        positions = self._positions(x, state, rows)  # (T,) or (B, T)
        # All layers of a stack that begins turn by the same angles and see through the same mask.
        turning = ("turn", self.head_width, self.config.period, self.config.rotary, x.dtype)
        turn = rows.once(turning if state is None else None, lambda: self._turn(positions, x.dtype))
        seeing = ("mask", self.config.window)
        mask = rows.once(seeing if state is None else None, lambda: self._mask(positions, state, rows))
        queries, keys = turn(self._heads(self.query, x)), turn(self._heads(self.key, x))  # (B, H, T, E), (B, G, T, E)
        values = self._heads(self.value, x)
        if state is not None:
            keys, values = append_columns(state["keys"], keys), append_columns(state["values"], values)
        mixed = self._attended(queries, keys, values, mask)
        return mixed, self._ended(keys, values, positions, state, rows) if keep else {}

    def attend(self, asking: Tensor, read: Tensor, asking_at: Tensor, read_at: Tensor, seen: Tensor) -> Tensor:
        """What positions (B, T, D) get of others (B, C, D): (B, T, D).

        Args:
            asking: what queries are made of.
            read: what keys and values are made of.
            asking_at: (T,) and
            read_at: (C,) their positions.
            seen: (T, C), which see which.
        """
        queries = self._turn(asking_at, asking.dtype)(self._heads(self.query, asking))
        keys = self._turn(read_at, read.dtype)(self._heads(self.key, read))
        return self._attended(queries, keys, self._heads(self.value, read), seen)

    def _heads(self, projection: nn.Linear, x: Tensor) -> Tensor:
        """(B, T, D) to (B, H or G, T, E)."""
        heads: Tensor = projection(x).view(*x.shape[:2], -1, self.head_width).transpose(1, 2)
        return heads

    def _turn(self, positions: Tensor, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """What turns heads (B, H or G, T, E) by their positions (T,) or (B, T)."""
        if not self.config.rotary:
            return lambda heads: heads
        angles = positions.double() if dtype == torch.float64 else positions.float()
        return Rotation(angles, self.head_width, self.config.period)

    def _attended(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Heads (B, H, T, E), (B, G, C, E) to (B, T, D); see `_mask`."""
        length = queries.shape[2]
        if self.learnt is not None:
            own = [
                self._heads(part, self.learnt[None]).expand(len(keys), -1, -1, -1) for part in (self.key, self.value)
            ]
            keys, values = torch.cat([own[0], keys], 2), torch.cat([own[1], values], 2)
            if mask is None and length > 1:
                mask = torch.ones(length, length, dtype=torch.bool, device=keys.device).tril()
            mask = None if mask is None else F.pad(mask, (len(self.learnt), 0), value=True)
        mixed = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None and length > 1,
            enable_gqa=self.heads != self.key_heads,
        )
        projected: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return projected

    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """See `SequenceMixer.step`."""
        counts: list[int] = state["count"].tolist()
        if len(set(counts)) != 1 or not self.config.rotary:
            mixed, state = self.mix(x[:, None], state, Rows(), keep=True)
            return mixed[:, 0], state
        batch, cached = len(x), state["keys"].shape[2]
        both = torch.cat([self.query(x), self.key(x)], 1).view(batch, -1, 1, self.head_width)  # (B, H + G, 1, E)
        both = Rotation.at(counts[0], self.head_width, self.config.period, x)(both)
        queries, keys = both[:, : self.heads], append_columns(state["keys"], both[:, self.heads :])
        values = append_columns(state["values"], self.value(x).view(batch, self.key_heads, 1, self.head_width))
        mask = None
        if counts[0] < cached:  # columns before the first have no key
            mask = (torch.arange(cached + 1, device=x.device) >= cached - counts[0])[None, None, None]
        return self._attended(queries, keys, values, mask)[:, 0], self._stepped(keys, values, state)

    def add_row(self, x: Tensor, scale: Tensor, eps: float, state: State) -> State | None:
        """Add to one row (1, D) what it gives of it, and give the state behind it; None if the layer is no plain one.

        Args:
            x: see `speechkit.nn.sequence.rows.is_single_row`; changed.
            scale: (D,) of the norm through which it is read.
            eps: of that norm.
            state: of the row.
        """
        count, cached = int(state["count"]), state["keys"].shape[2]
        if count < cached or self.learnt is not None or self.config.bias or not self.config.rotary:
            return None
        from speechkit.nn.sequence.row_kernel import attention_row

        cos, sin = angles_at(count, self.head_width, self.config.period, x)
        keys, values = extend_columns(state["keys"], 1), extend_columns(state["values"], 1)
        query, key, value, out = (numbers(part.weight) for part in (self.query, self.key, self.value, self.out))
        attention_row(
            numbers(x)[0], numbers(scale), eps, query, key, value, out, numbers(cos), numbers(sin),
            flat_array(keys), flat_array(values), keys.stride(1), cached + 1,
        )  # fmt: skip
        return self._stepped(keys, values, state)

    def _stepped(self, keys: Tensor, values: Tensor, state: State) -> State:
        kept = self._kept(keys.shape[2])
        return {
            "keys": keep_last_columns(keys, kept),
            "values": keep_last_columns(values, kept),
            "count": state["count"] + 1,
        }

    def _positions(self, x: Tensor, state: State | None, rows: Rows) -> Tensor:
        """Positions in the document: (T,) where all rows have the same, else (B, T)."""
        steps = torch.arange(x.shape[1], device=x.device)
        if rows.ancestors is not None:
            steps = rows.ancestors.sum(1) - 1
        if rows.documents is not None:
            begun = 0 if state is None else state["count"][:, None] * (rows.ordinals == 0)
            return rows.since_border + begun
        return steps if state is None else state["count"][:, None] + steps

    def _mask(self, positions: Tensor, state: State | None, rows: Rows) -> Tensor | None:
        """(B or 1, 1, T, C + T), true where a query sees a key; None where that is all before it, or all."""
        length, window = positions.shape[-1], self.config.window
        plain = rows.documents is None and rows.prefix is None and rows.ancestors is None
        if state is None and plain and not 0 < window < length:
            return None
        ours = positions if positions.dim() == 2 else positions[None]  # (B or 1, T)
        theirs, cached = ours, 0
        if state is not None:
            count, cached = state["count"], state["keys"].shape[2]
            if plain and length == 1 and (not cached or int(count.min()) >= cached):
                return None  # the cache holds what a window lets be seen, and nothing else
            theirs = torch.cat([count[:, None] - cached + torch.arange(cached, device=count.device), ours], 1)
        ahead = ours[:, :, None] - theirs[:, None]  # (B or 1, T, C + T)
        before = ahead >= 0
        if rows.ancestors is not None:
            before[:, :, cached:] = rows.ancestors
        if rows.prefix is not None:
            within = rows.prefix[:, :, None] & F.pad(rows.prefix, (cached, 0))[:, None]
            before = before | within
        seen = before & (theirs >= 0)[:, None]
        if window:
            seen = seen & (ahead < window)
        if rows.documents is not None:
            seen = seen & (rows.ordinals[:, :, None] == F.pad(rows.ordinals, (cached, 0))[:, None])
        return seen[:, None]

    def _kept(self, positions: int) -> int:
        """Columns of the cache behind so many positions; a window's last is of the position that sees it."""
        return min(positions, self.config.window - 1) if self.config.window else positions

    def _ended(self, keys: Tensor, values: Tensor, positions: Tensor, state: State | None, rows: Rows) -> State:
        """The cache behind each row's end, whose last column is that of the row's last position."""
        length = positions.shape[-1]
        cached = keys.shape[2] - length
        if rows.ancestors is not None:
            begun = torch.zeros(len(keys), dtype=torch.int64, device=keys.device) if state is None else state["count"]
            return {"keys": keys, "values": values, "count": begun}
        count = positions.expand(len(keys), length)[:, -1] + 1
        if rows.ragged(length):
            assert rows.lengths is not None
            lengths = rows.lengths.to(keys.device)
            last = positions.expand(len(keys), length).gather(1, (lengths - 1).clamp_min(0)[:, None])[:, 0]
            count = torch.where(lengths > 0, last + 1, torch.zeros_like(last) if state is None else state["count"])
        kept = self._kept(cached + rows.longest(length))
        if rows.ragged(length):
            keys, values = rows.newest(keys, cached, kept, 2), rows.newest(values, cached, kept, 2)
        else:
            keys, values = keep_last_columns(keys, kept), keep_last_columns(values, kept)
        return {"keys": keys, "values": values, "count": count}

    def follow(self, state: State, nodes: int, path: Tensor) -> State:
        """See `SequenceMixer.follow`: what was cached before the tree, and the path's columns."""
        cached = state["keys"].shape[2] - nodes
        kept = self._kept(cached + len(path))

        def columns(part: Tensor) -> Tensor:
            joined = torch.cat([part[:, :, :cached], part[:, :, cached:].index_select(2, path)], 2)
            return joined[:, :, joined.shape[2] - kept :]

        return {**{name: columns(state[name]) for name in ("keys", "values")}, "count": state["count"] + len(path)}
