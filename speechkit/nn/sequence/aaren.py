"""Aaren: attention with a learned query, computed as a parallel prefix scan or as an RNN with constant state.

The query does not depend on the position, so a single layer cannot do content-based recall; a stack can still mix.

Source: Feng et al. 2024 (Attention as an RNN).

Notation used for tensor shapes: B rows, T positions, D width, H heads, E width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechkit.nn.sequence.mixer import MixerConfig, SequenceMixer, State, accumulated, checked_width
from speechkit.nn.sequence.rows import Rows

Partial = tuple[Tensor, Tensor, Tensor]
"""Partial softmax of a run: maximum score m (…,), sum u (…,) of exp(s - m), and sum w (…, E) of exp(s - m) v."""


class AarenConfig(MixerConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="aaren"):
    """Attention with a learned query.

    Attributes:
        heads: H.
    """

    heads: int = 4


def combine(first: Partial, second: Partial) -> Partial:
    """Associative combination of two adjacent runs."""
    largest = torch.maximum(first[0], second[0])
    first_scale, second_scale = (first[0] - largest).exp(), (second[0] - largest).exp()
    return (
        largest,
        first[1] * first_scale + second[1] * second_scale,
        first[2] * first_scale[..., None] + second[2] * second_scale[..., None],
    )


def prefix_scan(scores: Tensor, values: Tensor) -> Partial:
    """Inclusive prefix scan over scores (B, H, T) and values (B, H, T, E), in log2 T steps."""
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
    """Causal softmax attention with a learned query.

    Raises:
        ConfigError: if the width is not a multiple of the heads.
    """

    def __init__(self, width: int, config: AarenConfig):
        super().__init__(width)
        self.config = config
        self.head_width = checked_width(config, width, config.heads, "heads")
        self.query_vector = nn.Parameter(torch.randn(width) * width**-0.5)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """``largest`` and ``weight`` (B, H), ``weighted`` (B, H, E), in float32 at least."""
        kind = accumulated(dtype)
        weight = torch.zeros(batch, self.config.heads, device=device, dtype=kind)
        # Below any score, but finite: the difference of infinities is NaN.
        largest = torch.full_like(weight, torch.finfo(kind).min)
        return {"largest": largest, "weight": weight, "weighted": weight[..., None].repeat(1, 1, self.head_width)}

    def state_bytes(self, positions: int) -> int:
        """Constant in the number of positions."""
        return self.config.heads * (2 + self.head_width) * self.element_bytes(accumulated=True)

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        heads = (*x.shape[:2], self.config.heads, self.head_width)
        query = self.query(self.query_vector).view(1, 1, *heads[2:])
        scores = (query * self.key(x).view(heads)).sum(-1).transpose(1, 2) * self.head_width**-0.5  # (B, H, T)
        values = self.value(x).view(heads).transpose(1, 2)  # (B, H, T, E)
        kind = accumulated(x.dtype)
        partial = prefix_scan(scores.to(kind), values.to(kind))
        if state is not None:
            initial = (state["largest"][..., None], state["weight"][..., None], state["weighted"][:, :, None])
            partial = combine(initial, partial)
        mean = (partial[2] / partial[1][..., None]).to(x.dtype)
        mixed: Tensor = self.out(mean.transpose(1, 2).flatten(2))
        return mixed, self._final_state(partial, state, rows) if keep else {}

    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """See `SequenceMixer.step`."""
        mixed, state = self.mix(x[:, None], state, Rows(), keep=True)
        return mixed[:, 0], state

    def _final_state(self, partial: Partial, state: State | None, rows: Rows) -> State:
        """The scan at each row's last position; empty rows keep their state."""
        names, length = ("largest", "weight", "weighted"), partial[0].shape[2]
        if not rows.ragged(length):
            return {name: part[:, :, -1] for name, part in zip(names, partial, strict=True)}
        assert rows.lengths is not None
        initial = self.start(len(partial[0]), partial[0].device, partial[0].dtype) if state is None else state
        states = {
            name: torch.cat([initial[name][:, :, None], part], 2) for name, part in zip(names, partial, strict=True)
        }
        lengths = rows.lengths.to(partial[0].device)
        index = torch.arange(len(lengths), device=lengths.device)
        return {name: part[index, :, lengths] for name, part in states.items()}
