"""S4D: a diagonal linear state a channel, as a convolution in training and as a recurrence in use.

Powers of the poles up to T are products of powers up to sqrt(T), so that neither the kernel nor the state behind T
positions writes down N T numbers a channel.

Source: Gu et al. 2022 (S4D), zero-order hold. Poles and steps need a smaller learning rate and no weight decay.

Notation used for tensor shapes: B rows, T positions, H channels (the width), N real states a channel, P = N / 2 poles,
F positions of a block, A blocks.
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
        poles: where they begin, see `hippo.diagonal`.
        least_step: and
        most_step: between which the steps of the channels begin, in units of the slowest pole's time.
    """

    states: int = 64
    poles: Diagonal = "lin"
    least_step: float = 1e-3
    most_step: float = 0.1


class S4D(SequenceMixer):
    """A state space a channel, then a gated projection over channels.

    ``rate`` is how many positions of the training one position stands for: 2 at half the sample rate.

    Raises:
        ConfigError: if N is odd or 0, or the steps are none.
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
        self.read_out = nn.Parameter(torch.randn(width, len(poles), 2) * math.sqrt(0.5))  # C, real and imaginary
        self.skip = nn.Parameter(torch.randn(width))
        self.out = nn.Linear(width, 2 * width)

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """``poles`` (B, H, P, 2): real and imaginary parts, in float32 at least."""
        shape = (batch, self.width, self.config.states // 2, 2)
        return {"poles": torch.zeros(shape, device=device, dtype=accumulated(dtype))}

    def state_bytes(self, positions: int) -> int:
        """The same after any number of positions."""
        return self.width * self.config.states * self.element_bytes(accumulated=True)

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        log_power, enters, reads = self._discrete(x.dtype)
        length = x.shape[1]
        inputs = x.transpose(1, 2).to(enters.real.dtype)  # (B, H, T)
        block = max(1, math.isqrt(length))
        blocks = -(-length // block)
        steps = torch.arange(block, device=x.device)
        inside = (log_power[..., None] * steps).exp()  # (H, P, F), powers 0 … F - 1
        across = (log_power[:, None] * (block * torch.arange(blocks, device=x.device))[:, None]).exp()  # (H, A, P)
        kernel = 2 * ((enters * reads)[:, None] * across @ inside).real.flatten(1)[:, :length]  # (H, T)
        outputs = long_convolution(inputs, kernel)
        begun = None if state is None else torch.view_as_complex(state["poles"].contiguous())  # (B, H, P)
        if begun is not None:
            read = (begun * reads * log_power.exp())[:, :, None] * across @ inside  # (B, H, A, F)
            outputs = outputs + 2 * read.real.flatten(2)[..., :length]
        mixed = self._projected(outputs.transpose(1, 2), x)
        if not keep:
            return mixed, {}
        # The last position of each row is moved to the end, and zeros stand before its first.
        if rows.ragged(length):
            assert rows.lengths is not None
            lengths = rows.lengths.to(x.device)
            source = torch.arange(length, device=x.device) - length + lengths[:, None]  # (B, T)
            moved = inputs.gather(2, source.clamp_min(0)[:, None].expand_as(inputs)) * (source >= 0)[:, None]
        else:
            lengths, moved = torch.full((len(x),), length, device=x.device), inputs
        moved = F.pad(moved, (blocks * block - length, 0)).view(*inputs.shape[:2], blocks, block)  # (B, H, A, F)
        summed = moved.to(inside.dtype) @ inside.flip(-1).mT  # (B, H, A, P)
        ended = (summed * across.flip(1)).sum(2) * enters
        if begun is not None:
            ended = ended + begun * (log_power * lengths[:, None, None]).exp()
        return mixed, {"poles": torch.view_as_real(ended)}

    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """See `SequenceMixer.step`."""
        log_power, enters, reads = self._discrete(x.dtype)
        begun = torch.view_as_complex(state["poles"].contiguous())
        ended = begun * log_power.exp() + enters * x[..., None]
        outputs = 2 * (ended * reads).sum(-1).real
        return self._projected(outputs, x), {"poles": torch.view_as_real(ended)}

    def _discrete(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """(H, P) each: logarithms of what a step multiplies the state with, what an input adds, what is read."""
        kind = accumulated(dtype)
        poles = torch.complex(-self.log_decay.to(kind).exp(), self.frequency.to(kind))
        log_power = self.log_step.to(kind).exp()[:, None] * self.rate * poles
        enters = torch.expm1(log_power) / poles
        return log_power, enters, torch.view_as_complex(self.read_out.to(kind))

    def _projected(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Outputs of the states and inputs (…, H) to (…, H)."""
        return F.glu(self.out(F.gelu(outputs.to(x.dtype) + self.skip * x)), -1)


def check_steps(mixer: str, least: float, most: float) -> None:
    """Raise ConfigError unless 0 < least <= most."""
    if not 0 < least <= most:
        raise ConfigError(f"{mixer} layer: least_step {least:g} and most_step {most:g}; give 0 < least <= most")
