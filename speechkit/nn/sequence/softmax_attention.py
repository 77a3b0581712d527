"""Softmax attention with rotary positions, grouped-query heads, sliding window, cache, packed documents and prefixes.

Source: Vaswani et al. 2017; Su et al. 2021 (rotary positions); Ainslie et al. 2023 (grouped-query attention);
Beltagy et al. 2020 (sliding window).

Notation used for tensor shapes: B rows, T positions, C positions of the cache, D width, H heads, G key-value heads,
E width of a head.
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
        key_heads: G, a divisor of H; 0: H.
        window: length of the sliding window, including the position itself; 0: unlimited.
        period: longest period of the rotary positions.
        rotary: whether to use rotary positions; without, only the causal mask encodes order.
        bias: whether projections have a bias.
        persistent: number of learned vectors without a position that every position attends to.
    """

    heads: int = 4
    key_heads: int = 0
    window: int = 0
    period: float = 10_000.0
    rotary: bool = True
    bias: bool = False
    persistent: int = 0


class SoftmaxAttention(SequenceMixer):
    """Causal multi-head softmax attention.

    Raises:
        ConfigError: if the head width is odd or fractional, or ``key_heads`` does not divide ``heads``.
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
        self.persistent = nn.Parameter(torch.randn(config.persistent, width)) if config.persistent else None

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """Rotated keys and values (B, G, C, E), newest last, and ``count`` (B,), the positions of the document.

        Cache columns before the last ``count`` are unused. See `append_columns` for their memory.
        """
        empty = torch.zeros(batch, self.key_heads, 0, self.head_width, device=device, dtype=dtype)
        return {"keys": empty, "values": empty, "count": torch.zeros(batch, dtype=torch.int64, device=device)}

    def state_bytes(self, positions: int) -> int:
        """Linear in the number of positions up to the window."""
        return 2 * self._kept(positions) * self.key_heads * self.head_width * self.element_bytes() + 8

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        positions = self._positions(x, state, rows)  # (T,) or (B, T)
        # Without a state, all layers of a stack share rotation angles and mask.
        rotation_key = ("rotation", self.head_width, self.config.period, self.config.rotary, x.dtype)
        rotate = rows.once(rotation_key if state is None else None, lambda: self._rotation(positions, x.dtype))
        mask_key = ("mask", self.config.window)
        mask = rows.once(mask_key if state is None else None, lambda: self._mask(positions, state, rows))
        queries = rotate(self._heads(self.query, x))  # (B, H, T, E)
        keys = rotate(self._heads(self.key, x))  # (B, G, T, E)
        values = self._heads(self.value, x)
        if state is not None:
            keys, values = append_columns(state["keys"], keys), append_columns(state["values"], values)
        mixed = self._attend(queries, keys, values, mask)
        return mixed, self._final_state(keys, values, positions, state, rows) if keep else {}

    def attend(
        self, targets: Tensor, sources: Tensor, target_positions: Tensor, source_positions: Tensor, mask: Tensor
    ) -> Tensor:
        """Attention of targets (B, T, D) to sources (B, C, D): (B, T, D).

        Args:
            targets: input of the queries.
            sources: input of keys and values.
            target_positions: (T,).
            source_positions: (C,).
            mask: (T, C), true where a target attends to a source.
        """
        queries = self._rotation(target_positions, targets.dtype)(self._heads(self.query, targets))
        keys = self._rotation(source_positions, sources.dtype)(self._heads(self.key, sources))
        return self._attend(queries, keys, self._heads(self.value, sources), mask)

    def _heads(self, projection: nn.Linear, x: Tensor) -> Tensor:
        """(B, T, D) to (B, H or G, T, E)."""
        heads: Tensor = projection(x).view(*x.shape[:2], -1, self.head_width).transpose(1, 2)
        return heads

    def _rotation(self, positions: Tensor, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """Rotary encoding of heads (B, H or G, T, E) at positions (T,) or (B, T)."""
        if not self.config.rotary:
            return lambda heads: heads
        angles = positions.double() if dtype == torch.float64 else positions.float()
        return Rotation(angles, self.head_width, self.config.period)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Queries (B, H, T, E), keys and values (B, G, C, E) to (B, T, D); see `_mask`."""
        length = queries.shape[2]
        if self.persistent is not None:
            persistent = [
                self._heads(part, self.persistent[None]).expand(len(keys), -1, -1, -1)
                for part in (self.key, self.value)
            ]
            keys, values = torch.cat([persistent[0], keys], 2), torch.cat([persistent[1], values], 2)
            if mask is None and length > 1:
                mask = torch.ones(length, length, dtype=torch.bool, device=keys.device).tril()
            mask = None if mask is None else F.pad(mask, (len(self.persistent), 0), value=True)
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
        if counts[0] < cached:  # earlier columns are unused
            mask = (torch.arange(cached + 1, device=x.device) >= cached - counts[0])[None, None, None]
        return self._attend(queries, keys, values, mask)[:, 0], self._next_state(keys, values, state)

    def add_row(self, x: Tensor, scale: Tensor, eps: float, state: State) -> State | None:
        """Add the layer's output to a single row (1, D) with a compiled kernel; None if the layer is not supported.

        Args:
            x: see `speechkit.nn.sequence.rows.is_single_row`; modified.
            scale: scale (D,) of the pre-norm.
            eps: of that norm.
            state: of the row.

        Returns:
            The next state.
        """
        count, cached = int(state["count"]), state["keys"].shape[2]
        if count < cached or self.persistent is not None or self.config.bias or not self.config.rotary:
            return None
        from speechkit.nn.sequence.row_kernel import attention_row

        cos, sin = angles_at(count, self.head_width, self.config.period, x)
        keys, values = extend_columns(state["keys"], 1), extend_columns(state["values"], 1)
        query, key, value, out = (numbers(part.weight) for part in (self.query, self.key, self.value, self.out))
        attention_row(
            numbers(x)[0], numbers(scale), eps, query, key, value, out, numbers(cos), numbers(sin),
            flat_array(keys), flat_array(values), keys.stride(1), cached + 1,
        )  # fmt: skip
        return self._next_state(keys, values, state)

    def _next_state(self, keys: Tensor, values: Tensor, state: State) -> State:
        kept = self._kept(keys.shape[2])
        return {
            "keys": keep_last_columns(keys, kept),
            "values": keep_last_columns(values, kept),
            "count": state["count"] + 1,
        }

    def _positions(self, x: Tensor, state: State | None, rows: Rows) -> Tensor:
        """Positions in the document: (T,) if equal for all rows, else (B, T)."""
        steps = torch.arange(x.shape[1], device=x.device)
        if rows.ancestors is not None:
            steps = rows.ancestors.sum(1) - 1
        if rows.documents is not None:
            offset = 0 if state is None else state["count"][:, None] * (rows.ordinals == 0)
            return rows.since_border + offset
        return steps if state is None else state["count"][:, None] + steps

    def _mask(self, positions: Tensor, state: State | None, rows: Rows) -> Tensor | None:
        """Attention mask (B or 1, 1, T, C + T); None if it is causal, or all true for a single position."""
        length, window = positions.shape[-1], self.config.window
        plain = rows.documents is None and rows.prefix is None and rows.ancestors is None
        if state is None and plain and not 0 < window < length:
            return None
        query_positions = positions if positions.dim() == 2 else positions[None]  # (B or 1, T)
        key_positions, cached = query_positions, 0
        if state is not None:
            count, cached = state["count"], state["keys"].shape[2]
            if plain and length == 1 and (not cached or int(count.min()) >= cached):
                return None  # the cache has exactly the window
            cached_positions = count[:, None] - cached + torch.arange(cached, device=count.device)
            key_positions = torch.cat([cached_positions, query_positions], 1)
        distance = query_positions[:, :, None] - key_positions[:, None]  # (B or 1, T, C + T)
        mask = distance >= 0
        if rows.ancestors is not None:
            mask[:, :, cached:] = rows.ancestors
        if rows.prefix is not None:
            within = rows.prefix[:, :, None] & F.pad(rows.prefix, (cached, 0))[:, None]
            mask = mask | within
        mask = mask & (key_positions >= 0)[:, None]
        if window:
            mask = mask & (distance < window)
        if rows.documents is not None:
            mask = mask & (rows.ordinals[:, :, None] == F.pad(rows.ordinals, (cached, 0))[:, None])
        return mask[:, None]

    def _kept(self, positions: int) -> int:
        """Number of cache columns after ``positions`` positions; the window includes the position itself."""
        return min(positions, self.config.window - 1) if self.config.window else positions

    def _final_state(self, keys: Tensor, values: Tensor, positions: Tensor, state: State | None, rows: Rows) -> State:
        """The cache after each row's end, with the row's last position as its last column."""
        length = positions.shape[-1]
        cached = keys.shape[2] - length
        if rows.ancestors is not None:
            count = torch.zeros(len(keys), dtype=torch.int64, device=keys.device) if state is None else state["count"]
            return {"keys": keys, "values": values, "count": count}
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
        """See `SequenceMixer.follow`: the cache before the tree, and the path's columns."""
        cached = state["keys"].shape[2] - nodes
        kept = self._kept(cached + len(path))

        def columns(part: Tensor) -> Tensor:
            joined = torch.cat([part[:, :, :cached], part[:, :, cached:].index_select(2, path)], 2)
            return joined[:, :, joined.shape[2] - kept :]

        return {**{name: columns(state[name]) for name in ("keys", "values")}, "count": state["count"] + len(path)}
