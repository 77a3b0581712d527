"""LSSL: a dense linear state a channel, exact, for few states; `s4d` is the form to work with.

Source: Gu et al. 2021 (LSSL), bilinear discretisation.

Notation used for tensor shapes: B rows, T positions, H channels (the width), N states a channel, M outputs a channel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.errors import ConfigError
from speechkit.nn.sequence.convolution import long_convolution
from speechkit.nn.sequence.hippo import Measure, bilinear, hippo, log_steps
from speechkit.nn.sequence.mixer import MixerConfig, SequenceMixer, State
from speechkit.nn.sequence.rows import Rows
from speechkit.nn.sequence.s4d import check_steps


class LsslConfig(MixerConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="lssl"):
    """A dense state space layer.

    Attributes:
        states: N.
        outputs: M.
        measure: what the state remembers at first, see `hippo.hippo`.
        learn_matrix: whether A and B learn.
        least_step: and
        most_step: between which the steps of the channels begin.
    """

    states: int = 16
    outputs: int = 1
    measure: Measure = "legs"
    learn_matrix: bool = True
    least_step: float = 1e-3
    most_step: float = 0.1


class Lssl(SequenceMixer):
    """A state space a channel, all with one A and B and steps of their own, then a projection.

    Raises:
        ConfigError: if there are no states or outputs, or the steps are none.
    """

    def __init__(self, width: int, config: LsslConfig):
        super().__init__(width)
        check_steps(config.mixer, config.least_step, config.most_step)
        if not config.states or not config.outputs:
            raise ConfigError(f"lssl layer: {config.states} states and {config.outputs} outputs; give 1 or more")
        self.config, self.rate = config, 1.0
        matrix, enters = hippo(config.states, config.measure)
        self.matrix = nn.Parameter(matrix.float(), requires_grad=config.learn_matrix)  # A
        self.enters = nn.Parameter(enters.float(), requires_grad=config.learn_matrix)  # B
        self.log_step = nn.Parameter(log_steps(width, config.least_step, config.most_step))
        self.read_out = nn.Parameter(torch.randn(width, config.outputs, config.states) * config.states**-0.5)  # C
        self.skip = nn.Parameter(torch.randn(width, config.outputs))
        self.out = nn.Linear(width * config.outputs, width)
        self._kept: tuple[object, tuple[Tensor, Tensor]] | None = None

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """``state`` (B, H, N)."""
        return {"state": torch.zeros(batch, self.width, self.config.states, device=device, dtype=dtype)}

    def state_bytes(self, positions: int) -> int:
        """The same after any number of positions."""
        return self.width * self.config.states * self.element_bytes()

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        matrix, enters = self._discrete()
        length = x.shape[1]
        inputs = x.transpose(1, 2)  # (B, H, T)
        reads = _krylov(self.read_out.mT, matrix.mT, length + 1)  # (H, N, T + 1, M), C A^t
        kernel = torch.einsum("hntm,hn->mht", reads[:, :, :-1], enters)
        outputs = long_convolution(inputs[:, None], kernel)  # (B, M, H, T)
        if state is not None:
            outputs = outputs + torch.einsum("hntm,bhn->bmht", reads[:, :, 1:], state["state"])
        mixed = self._projected(outputs.permute(0, 3, 2, 1), x)
        if not keep:
            return mixed, {}
        lengths = torch.full((len(x),), length) if rows.lengths is None else rows.lengths
        lengths = lengths.to(x.device)
        ago = lengths[:, None] - 1 - torch.arange(length, device=x.device)  # (B, T), positions before the row's end
        remains = _krylov(enters[..., None], matrix, length)[..., 0]  # (H, N, T), A^t B
        ordered = inputs.gather(2, ago.clamp_min(0)[:, None].expand_as(inputs)) * (ago >= 0)[:, None]
        ended = torch.einsum("hnt,bht->bhn", remains, ordered)
        if state is not None:
            ended = ended + _advanced(state["state"], matrix, lengths)
        return mixed, {"state": ended}

    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """See `SequenceMixer.step`."""
        matrix, enters = self._discrete()
        ended = torch.einsum("hnk,bhk->bhn", matrix, state["state"]) + enters * x[..., None]
        outputs = torch.einsum("hmn,bhn->bhm", self.read_out, ended)
        return self._projected(outputs, x), {"state": ended}

    def _discrete(self) -> tuple[Tensor, Tensor]:
        """A (H, N, N) and B (H, N) of a step; made anew whenever a weight has changed, or gradients are asked for."""
        step = self.log_step.exp() * self.rate
        if torch.is_grad_enabled():
            return bilinear(self.matrix, self.enters, step)
        weights = (self.matrix, self.enters, self.log_step)
        made_from = (self.rate, *((weight.data_ptr(), weight._version, weight.dtype) for weight in weights))
        if self._kept is None or self._kept[0] != made_from:
            self._kept = (made_from, bilinear(self.matrix, self.enters, step))
        return self._kept[1]

    def _projected(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Outputs of the states (…, H, M) and inputs (…, H) to (…, H)."""
        projected: Tensor = self.out(F.gelu(outputs + self.skip * x[..., None]).flatten(-2))
        return projected


def _krylov(first: Tensor, matrix: Tensor, length: int) -> Tensor:
    """Vectors (H, N, M) and what a matrix (H, N, N) makes of them 0, 1, … times: (H, N, length, M), by doubling."""
    made, power = first[:, :, None], matrix
    while made.shape[2] < length:
        made = torch.cat([made, torch.einsum("hnk,hktm->hntm", power, made)], 2)
        power = power @ power
    return made[:, :, :length]


def _advanced(state: Tensor, matrix: Tensor, times: Tensor) -> Tensor:
    """States (B, H, N) after a matrix (H, N, N) so many times (B,), by the bits of the number."""
    power, rest = matrix, times
    while bool((rest > 0).any()):
        moved = torch.einsum("hnk,bhk->bhn", power, state)
        state = torch.where((rest % 2 == 1)[:, None, None], moved, state)
        power, rest = power @ power, rest // 2
    return state
