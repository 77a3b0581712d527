"""Aaren: attention of one learnt query, computed as a prefix scan or as a recurrence with a constant state.

The query does not see the position that asks, so a layer cannot recall by content; a stack of them can still mix.

Source: Feng et al. 2024 (Attention as an RNN).

Notation used for tensor shapes: B rows, T positions, D width, H heads, E width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechkit.nn.sequence.mixer import MixerConfig, SequenceMixer, State, accumulated, checked_width
from speechkit.nn.sequence.rows import Rows

Partial = tuple[Tensor, Tensor, Tensor]
"""Of a run of positions: m (…,) the largest score, u (…,) the sum of exp(s - m), w (…, E) that of exp(s - m) v."""


class AarenConfig(MixerConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="aaren"):
    """Attention of one learnt query.

    Attributes:
        heads: H.
    """

    heads: int = 4


def combine(first: Partial, second: Partial) -> Partial:
    """What two neighbouring runs make together; associative."""
    largest = torch.maximum(first[0], second[0])
    one, other = (first[0] - largest).exp(), (second[0] - largest).exp()
    return (
        largest,
        first[1] * one + second[1] * other,
        first[2] * one[..., None] + second[2] * other[..., None],
    )


def prefix_scan(scores: Tensor, values: Tensor) -> Partial:
    """Of each position and all before it: scores (B, H, T) and values (B, H, T, E), in log2 T steps."""
    partial: Partial = (scores, torch.ones_like(scores), values)
    reach = 1
    while reach < scores.shape[2]:
        earlier = tuple(part[:, :, :-reach] for part in partial)
        later = tuple(part[:, :, reach:] for part in partial)
        joined = combine(earlier, later)  # type: ignore[arg-type]
        partial = tuple(  # type: ignore[assignment]
            torch.cat([part[:, :, :reach], both], 2) for part, both in zip(partial, joined, strict=True)
        )
        reach *= 2
    return partial


class Aaren(SequenceMixer):
    """A mean of all values so far, weighted by the softmax of their keys' products with a learnt query.

    Raises:
        ConfigError: if the width of a head is not whole.
    """

    def __init__(self, width: int, config: AarenConfig):
        super().__init__(width)
        self.config = config
        self.head_width = checked_width(config, width, config.heads, "heads")
        self.asked = nn.Parameter(torch.randn(width) * width**-0.5)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """``largest`` and ``weight`` (B, H), ``weighted`` (B, H, E), in float32 at least."""
        kind = accumulated(dtype)
        weight = torch.zeros(batch, self.config.heads, device=device, dtype=kind)
        # Less than any score, but finite: minus infinity less itself is no number.
        largest = torch.full_like(weight, torch.finfo(kind).min)
        return {"largest": largest, "weight": weight, "weighted": weight[..., None].repeat(1, 1, self.head_width)}

    def state_bytes(self, positions: int) -> int:
        """The same after any number of positions."""
        return self.config.heads * (2 + self.head_width) * self.element_bytes(accumulated=True)

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        heads = (*x.shape[:2], self.config.heads, self.head_width)
        query = self.query(self.asked).view(1, 1, *heads[2:])
        scores = (query * self.key(x).view(heads)).sum(-1).transpose(1, 2) * self.head_width**-0.5  # (B, H, T)
        values = self.value(x).view(heads).transpose(1, 2)  # (B, H, T, E)
        kind = accumulated(x.dtype)
        partial = prefix_scan(scores.to(kind), values.to(kind))
        if state is not None:
            begun = (state["largest"][..., None], state["weight"][..., None], state["weighted"][:, :, None])
            partial = combine(begun, partial)
        mean = (partial[2] / partial[1][..., None]).to(x.dtype)
        mixed: Tensor = self.out(mean.transpose(1, 2).flatten(2))
        return mixed, self._ended(partial, state, rows) if keep else {}

    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """See `SequenceMixer.step`."""
        mixed, state = self.mix(x[:, None], state, Rows(), keep=True)
        return mixed[:, 0], state

    def _ended(self, partial: Partial, state: State | None, rows: Rows) -> State:
        """What was scanned up to each row's last position; rows without one keep their state."""
        names, length = ("largest", "weight", "weighted"), partial[0].shape[2]
        if not rows.ragged(length):
            return {name: part[:, :, -1] for name, part in zip(names, partial, strict=True)}
        assert rows.lengths is not None
        before = self.start(len(partial[0]), partial[0].device, partial[0].dtype) if state is None else state
        every = {
            name: torch.cat([before[name][:, :, None], part], 2) for name, part in zip(names, partial, strict=True)
        }
        at = rows.lengths.to(partial[0].device)
        return {name: part[torch.arange(len(at), device=at.device), :, at] for name, part in every.items()}
