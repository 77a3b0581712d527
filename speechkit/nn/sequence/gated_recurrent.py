"""LSTM and GRU baselines with PyTorch's kernels.

Source: Hochreiter and Schmidhuber 1997; Cho et al. 2014. PyTorch's GRU applies the reset gate after the product with
the state, the paper before it.

Notation used for tensor shapes: B rows, T positions, D width, K width of the state.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from speechkit.nn.sequence.mixer import MixerConfig, SequenceMixer, State
from speechkit.nn.sequence.rows import Rows


class RecurrentConfig(MixerConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="recurrent"):
    """A gated recurrent layer.

    Attributes:
        kind: ``lstm`` or ``gru``.
        hidden: K; 0: the input width.
    """

    kind: Literal["lstm", "gru"] = "lstm"
    hidden: int = 0


class GatedRecurrent(SequenceMixer):
    """A recurrent layer with an output projection; forget gates of LSTMs are initialised open."""

    def __init__(self, width: int, config: RecurrentConfig):
        super().__init__(width)
        self.config = config
        self.hidden = config.hidden or width
        self.recurrent = (nn.LSTM if config.kind == "lstm" else nn.GRU)(width, self.hidden, batch_first=True)
        self.out = nn.Linear(self.hidden, width)
        if config.kind == "lstm":
            # PyTorch has two biases per gate, in the order input, forget, cell, output.
            with torch.no_grad():
                for name, value in (("bias_ih_l0", 1.0), ("bias_hh_l0", 0.0)):
                    self.recurrent.get_parameter(name)[self.hidden : 2 * self.hidden] = value

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """``hidden`` and, for LSTMs, ``cell`` (B, K)."""
        names = ("hidden", "cell") if self.config.kind == "lstm" else ("hidden",)
        return {name: torch.zeros(batch, self.hidden, device=device, dtype=dtype) for name in names}

    def state_bytes(self, positions: int) -> int:
        """Constant in the number of positions."""
        return (2 if self.config.kind == "lstm" else 1) * self.hidden * self.element_bytes()

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        initial = None if state is None else self._packed(state)
        if not keep or not rows.ragged(x.shape[1]):
            hidden, final = self.recurrent(x, initial)
            return self.out(hidden), self._unpacked(final) if keep else {}
        # Packed sequences give the state at each row's end; they need at least one position per row.
        assert rows.lengths is not None
        lengths = rows.lengths.cpu()
        sequence = nn.utils.rnn.pack_padded_sequence(x, lengths.clamp_min(1), batch_first=True, enforce_sorted=False)
        packed, final = self.recurrent(sequence, initial)
        hidden, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        previous = self.start(len(x), x.device, x.dtype) if state is None else state
        empty = (lengths < 1).to(x.device)[:, None]
        return self.out(hidden), {
            name: torch.where(empty, previous[name], part) for name, part in self._unpacked(final).items()
        }

    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """See `SequenceMixer.step`."""
        hidden, final = self.recurrent(x[:, None], self._packed(state))
        return self.out(hidden[:, 0]), self._unpacked(final)

    def _packed(self, state: State) -> Tensor | tuple[Tensor, Tensor]:
        """The state in PyTorch's layout, with a leading layer dimension."""
        hidden = state["hidden"][None].contiguous()
        return (hidden, state["cell"][None].contiguous()) if self.config.kind == "lstm" else hidden

    def _unpacked(self, packed: Tensor | tuple[Tensor, Tensor]) -> State:
        parts = packed if isinstance(packed, tuple) else (packed,)
        return {name: part[0] for name, part in zip(("hidden", "cell"), parts, strict=False)}
