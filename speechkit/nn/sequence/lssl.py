"""LSSL: an exact dense state space model per channel, for small N; `s4d` is the practical form.

Source: Gu et al. 2021 (LSSL), bilinear discretisation.

Notation used for tensor shapes: B rows, T positions, H channels (the width), N states and M outputs per channel.
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
        measure: HiPPO initialisation, see `hippo.hippo`.
        learn_matrix: whether to train A and B.
        least_step: smallest and
        most_step: largest initial step of a channel.
    """

    states: int = 16
    outputs: int = 1
    measure: Measure = "legs"
    learn_matrix: bool = True
    least_step: float = 1e-3
    most_step: float = 0.1


class Lssl(SequenceMixer):
    """State space models with shared A and B and a step per channel, then an output projection.

    Raises:
        ConfigError: if there are no states or outputs, or the steps are invalid.
    """

    def __init__(self, width: int, config: LsslConfig):
        super().__init__(width)
        check_steps(config.mixer, config.least_step, config.most_step)
        if not config.states or not config.outputs:
            raise ConfigError(f"lssl layer: {config.states} states and {config.outputs} outputs; give 1 or more")
        self.config, self.rate = config, 1.0
        matrix, input_matrix = hippo(config.states, config.measure)
        self.matrix = nn.Parameter(matrix.float(), requires_grad=config.learn_matrix)  # A
        self.input_matrix = nn.Parameter(input_matrix.float(), requires_grad=config.learn_matrix)  # B
        self.log_step = nn.Parameter(log_steps(width, config.least_step, config.most_step))
        self.output_matrix = nn.Parameter(torch.randn(width, config.outputs, config.states) * config.states**-0.5)  # C
        self.skip = nn.Parameter(torch.randn(width, config.outputs))
        self.out = nn.Linear(width * config.outputs, width)
        self._cache: tuple[object, tuple[Tensor, Tensor]] | None = None

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """``state`` (B, H, N)."""
        return {"state": torch.zeros(batch, self.width, self.config.states, device=device, dtype=dtype)}

    def state_bytes(self, positions: int) -> int:
        """Constant in the number of positions."""
        return self.width * self.config.states * self.element_bytes()

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        matrix, input_matrix = self._discrete()
        length = x.shape[1]
        inputs = x.transpose(1, 2)  # (B, H, T)
        outputs_of_powers = _krylov(self.output_matrix.mT, matrix.mT, length + 1)  # (H, N, T + 1, M), C A^t
        kernel = torch.einsum("hntm,hn->mht", outputs_of_powers[:, :, :-1], input_matrix)
        outputs = long_convolution(inputs[:, None], kernel)  # (B, M, H, T)
        if state is not None:
            outputs = outputs + torch.einsum("hntm,bhn->bmht", outputs_of_powers[:, :, 1:], state["state"])
        mixed = self._projected(outputs.permute(0, 3, 2, 1), x)
        if not keep:
            return mixed, {}
        lengths = torch.full((len(x),), length) if rows.lengths is None else rows.lengths
        lengths = lengths.to(x.device)
        lag = lengths[:, None] - 1 - torch.arange(length, device=x.device)  # (B, T), distance to the row's end
        impulse_states = _krylov(input_matrix[..., None], matrix, length)[..., 0]  # (H, N, T), A^t B
        by_lag = inputs.gather(2, lag.clamp_min(0)[:, None].expand_as(inputs)) * (lag >= 0)[:, None]
        final = torch.einsum("hnt,bht->bhn", impulse_states, by_lag)
        if state is not None:
            final = final + _advanced(state["state"], matrix, lengths)
        return mixed, {"state": final}

    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """See `SequenceMixer.step`."""
        matrix, input_matrix = self._discrete()
        final = torch.einsum("hnk,bhk->bhn", matrix, state["state"]) + input_matrix * x[..., None]
        outputs = torch.einsum("hmn,bhn->bhm", self.output_matrix, final)
        return self._projected(outputs, x), {"state": final}

    def _discrete(self) -> tuple[Tensor, Tensor]:
        """Discretised A (H, N, N) and B (H, N); cached without gradients until a weight changes."""
        step = self.log_step.exp() * self.rate
        if torch.is_grad_enabled():
            return bilinear(self.matrix, self.input_matrix, step)
        weights = (self.matrix, self.input_matrix, self.log_step)
        key = (self.rate, *((weight.data_ptr(), weight._version, weight.dtype) for weight in weights))
        if self._cache is None or self._cache[0] != key:
            self._cache = (key, bilinear(self.matrix, self.input_matrix, step))
        return self._cache[1]

    def _projected(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Outputs (…, H, M) and inputs (…, H) to (…, H)."""
        projected: Tensor = self.out(F.gelu(outputs + self.skip * x[..., None]).flatten(-2))
        return projected


def _krylov(first: Tensor, matrix: Tensor, length: int) -> Tensor:
    """Krylov sequence of vectors (H, N, M) under a matrix (H, N, N): (H, N, length, M), by doubling."""
    sequence, power = first[:, :, None], matrix
    while sequence.shape[2] < length:
        sequence = torch.cat([sequence, torch.einsum("hnk,hktm->hntm", power, sequence)], 2)
        power = power @ power
    return sequence[:, :, :length]


def _advanced(state: Tensor, matrix: Tensor, times: Tensor) -> Tensor:
    """States (B, H, N) after ``times`` (B,) applications of a matrix (H, N, N), by binary exponentiation."""
    power, rest = matrix, times
    while bool((rest > 0).any()):
        moved = torch.einsum("hnk,bhk->bhn", power, state)
        state = torch.where((rest % 2 == 1)[:, None, None], moved, state)
        power, rest = power @ power, rest // 2
    return state
