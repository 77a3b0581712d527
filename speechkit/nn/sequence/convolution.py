"""Causal convolutions: long FFT convolution, short depthwise convolution, and the gated short convolution layer.

Source: Arora et al. 2024 (Based), whose stacks alternate gated convolutions with attention layers.

Notation used for tensor shapes: B rows, T positions, D width, H channels, K positions of a short kernel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.errors import ConfigError
from speechkit.nn.sequence.mixer import MixerConfig, SequenceMixer, State
from speechkit.nn.sequence.rows import Rows


def long_convolution(x: Tensor, kernel: Tensor) -> Tensor:
    """Causal convolution of (…, H, T) with kernels (…, H, T): (…, H, T)."""
    length = x.shape[-1]
    size = 1 << (2 * length - 1).bit_length()  # at least twice the length, to avoid circular wrap-around
    product = torch.fft.rfft(x, size) * torch.fft.rfft(kernel, size)
    output: Tensor = torch.fft.irfft(product, size)[..., :length]
    return output


class ShortConvolution(nn.Module):
    """Causal depthwise convolution with a kernel of K positions.

    Args:
        width: D.
        kernel: K.
    """

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.width, self.kernel = width, kernel
        self.weight = nn.Parameter(torch.empty(width, 1, kernel).uniform_(-(kernel**-0.5), kernel**-0.5))
        self.bias = nn.Parameter(torch.zeros(width))

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> Tensor:
        """Initial state (B, K - 1, D): zero inputs."""
        return torch.zeros(batch, self.kernel - 1, self.width, device=device, dtype=dtype)

    def forward(self, x: Tensor, before: Tensor | None, rows: Rows, keep: bool) -> tuple[Tensor, Tensor]:
        """(B, T, D) after inputs (B, K - 1, D) to (B, T, D) and, if ``keep``, the last K - 1 inputs of each row."""
        before = self.start(len(x), x.device, x.dtype) if before is None else before
        inputs = torch.cat([before, x], 1)
        output = F.conv1d(inputs.transpose(1, 2), self.weight, self.bias, groups=self.width).transpose(1, 2)
        if not keep:
            return output, before
        if not rows.ragged(x.shape[1]):
            return output, inputs[:, inputs.shape[1] - self.kernel + 1 :]
        assert rows.lengths is not None
        last = rows.lengths.to(x.device)[:, None] + torch.arange(self.kernel - 1, device=x.device)
        return output, inputs.gather(1, last[..., None].expand(-1, -1, self.width))


class ConvolutionConfig(MixerConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="convolution"):
    """A gated short convolution.

    Attributes:
        kernel: K.
    """

    kernel: int = 3


class GatedConvolution(SequenceMixer):
    """A short convolution of one projection, gated by another.

    Raises:
        ConfigError: if the kernel is 0.
    """

    def __init__(self, width: int, config: ConvolutionConfig):
        super().__init__(width)
        if config.kernel < 1:
            raise ConfigError("convolution layer: kernel is 0; give 1 or more positions")
        self.config = config
        self.value, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        self.local = ShortConvolution(width, config.kernel)
        self.out = nn.Linear(width, width)

    def start(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> State:
        """``before`` (B, K - 1, D): the last inputs of the convolution."""
        return {"before": self.local.start(batch, device, dtype)}

    def state_bytes(self, positions: int) -> int:
        """Constant in the number of positions."""
        return (self.config.kernel - 1) * self.width * self.element_bytes()

    def mix(self, x: Tensor, state: State | None, rows: Rows, keep: bool) -> tuple[Tensor, State]:
        """See `SequenceMixer.mix`."""
        local, before = self.local(self.value(x), None if state is None else state["before"], rows, keep)
        return self.out(local * F.silu(self.gate(x))), {"before": before} if keep else {}

    def step(self, x: Tensor, state: State, *, tokens: Tensor | None = None) -> tuple[Tensor, State]:
        """See `SequenceMixer.step`."""
        mixed, state = self.mix(x[:, None], state, Rows(), keep=True)
        return mixed[:, 0], state
