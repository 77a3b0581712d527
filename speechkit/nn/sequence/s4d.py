"""S4D: a diagonal state space model per channel, as a convolution for training and a recurrence for inference.

Powers of the poles up to T are products of powers up to sqrt(T), so neither the kernel nor the final state needs N T
numbers per channel.

Source: Gu et al. 2022 (S4D), zero-order hold. Poles and steps need a smaller learning rate and no weight decay.

Notation used for tensor shapes: B rows, T positions, H channels (the width), N real states per channel, P = N / 2
poles, F positions of a block, A blocks.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.errors import ConfigError
from speechkit.nn.sequence.convolution import long_convolution
from speechkit.nn.sequence.hippo import Diagonal, diagonal, log_steps
from speechkit.nn.sequence.mixer import MixerConfig, SequenceMixer, State, accumulated
from speechkit.nn.sequence.rows import Rows


class S4DConfig(MixerConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="s4d"):
    """A diagonal state space layer.

    Attributes:
        states: N, even.
        poles: initialisation, see `hippo.diagonal`.
        least_step: smallest and
        most_step: largest initial step of a channel, in units of the slowest pole's time.
    """

    states: int = 64
    poles: Diagonal = "lin"
    least_step: float = 1e-3
    most_step: float = 0.1


class S4D(SequenceMixer):
    """A state space model per channel, then a gated projection over channels.

    ``rate`` rescales the step for another sample rate: 2 at half the sample rate of training.

    Raises:
        ConfigError: if N is odd or 0, or the steps are invalid.
    """

    def __init__(self, width: int, config: S4DConfig):
        super().__init__(width)
        check_steps(config.mixer, config.least_step, config.most_step)
        if config.states < 2 or config.states % 2:
            raise ConfigError(f"s4d layer: states is {config.states}; give an even number, 2 or more")
        self.config, self.rate = config, 1.0
        poles = diagonal(config.states, config.poles)
        self.log_step = nn.Parameter(log_steps(width, config.least_step, config.most_step))
        self.log_decay = nn.Parameter((-poles.real).log().float().repeat(width, 1))  # (H, P)
        self.frequency = nn.Parameter(poles.imag.float().repeat(width, 1))
        self.output_matrix = nn.Parameter(torch.randn(width, len(poles), 2) * math.sqrt(0.5))  # C, real and imaginary
        self.skip = nn.Parameter(torch.randn(width))
        self.out = nn.Linear(width, 2 * width)

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """``poles`` (B, H, P, 2): real and imaginary parts of the state, at least float32."""
        shape = (batch, self.width, self.config.states // 2, 2)
        return {"poles": torch.zeros(shape, device=device, dtype=accumulated(dtype))}

    def state_bytes(self, positions: int) -> int:
        """Constant in the number of positions."""
        return self.width * self.config.states * self.element_bytes(accumulated=True)

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        log_power, input_gain, output_gain = self._discrete(x.dtype)
        length = x.shape[1]
        inputs = x.transpose(1, 2).to(input_gain.real.dtype)  # (B, H, T)
        block = max(1, math.isqrt(length))
        blocks = -(-length // block)
        steps = torch.arange(block, device=x.device)
        inside = (log_power[..., None] * steps).exp()  # (H, P, F), powers 0 … F - 1
        across = (log_power[:, None] * (block * torch.arange(blocks, device=x.device))[:, None]).exp()  # (H, A, P)
        kernel = 2 * ((input_gain * output_gain)[:, None] * across @ inside).real.flatten(1)[:, :length]  # (H, T)
        outputs = long_convolution(inputs, kernel)
        initial = None if state is None else torch.view_as_complex(state["poles"].contiguous())  # (B, H, P)
        if initial is not None:
            response = (initial * output_gain * log_power.exp())[:, :, None] * across @ inside  # (B, H, A, F)
            outputs = outputs + 2 * response.real.flatten(2)[..., :length]
        mixed = self._projected(outputs.transpose(1, 2), x)
        if not keep:
            return mixed, {}
        # Right-align the rows, with zeros before the first position.
        if rows.ragged(length):
            assert rows.lengths is not None
            lengths = rows.lengths.to(x.device)
            source = torch.arange(length, device=x.device) - length + lengths[:, None]  # (B, T)
            moved = inputs.gather(2, source.clamp_min(0)[:, None].expand_as(inputs)) * (source >= 0)[:, None]
        else:
            lengths, moved = torch.full((len(x),), length, device=x.device), inputs
        moved = F.pad(moved, (blocks * block - length, 0)).view(*inputs.shape[:2], blocks, block)  # (B, H, A, F)
        summed = moved.to(inside.dtype) @ inside.flip(-1).mT  # (B, H, A, P)
        final = (summed * across.flip(1)).sum(2) * input_gain
        if initial is not None:
            final = final + initial * (log_power * lengths[:, None, None]).exp()
        return mixed, {"poles": torch.view_as_real(final)}

    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """See `SequenceMixer.step`."""
        log_power, input_gain, output_gain = self._discrete(x.dtype)
        initial = torch.view_as_complex(state["poles"].contiguous())
        final = initial * log_power.exp() + input_gain * x[..., None]
        outputs = 2 * (final * output_gain).sum(-1).real
        return self._projected(outputs, x), {"poles": torch.view_as_real(final)}

    def _discrete(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """(H, P) each: log of the state transition, input gain and output gain."""
        kind = accumulated(dtype)
        poles = torch.complex(-self.log_decay.to(kind).exp(), self.frequency.to(kind))
        log_power = self.log_step.to(kind).exp()[:, None] * self.rate * poles
        input_gain = torch.expm1(log_power) / poles
        return log_power, input_gain, torch.view_as_complex(self.output_matrix.to(kind))

    def _projected(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Outputs and inputs (…, H) to (…, H)."""
        return F.glu(self.out(F.gelu(outputs.to(x.dtype) + self.skip * x)), -1)


def check_steps(mixer: str, least: float, most: float) -> None:
    """Raise ConfigError unless 0 < least <= most."""
    if not 0 < least <= most:
        raise ConfigError(f"{mixer} layer: least_step {least:g} and most_step {most:g}; give 0 < least <= most")
