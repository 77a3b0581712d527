"""The HiFi-GAN generator, with the conditional batch norm of WavThruVec's vec2wav.

Notation used for shapes: B items, D width, T frames at the input, S samples, C width of the condition.
Source: Kong et al. 2020, "HiFi-GAN", V1; Siuzdak et al. 2022, "WavThruVec", section 2.2. Where the latter's norms stand
is ours: behind each transposed convolution, before its residual blocks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from speechkit.tts.vocoder.config import HifiGanConfig

SLOPE = 0.1


class HifiGan(nn.Module):
    """Frames (B, T, D) to waveforms (B, T * product of the rates)."""

    def __init__(self, config: HifiGanConfig, condition: int = 0):
        super().__init__()
        channels = config.channels
        self.stages = nn.ModuleList()
        for rate, kernel in zip(config.rates, config.kernels, strict=True):
            self.stages.append(_Stage(channels, rate, kernel, config, condition))
            channels //= 2
        self.output = weight_norm(nn.Conv1d(channels, 1, 7, padding=3))

    def forward(
        self, hidden: Tensor, mel: Tensor, inside: Tensor | None = None, condition: Tensor | None = None
    ) -> Tensor:
        """(B, T, D), inside (B, T, 1), condition (B, C) to samples (B, S) float32; ``mel`` is not needed."""
        x = hidden.transpose(1, 2)
        mask = None if inside is None else inside.transpose(1, 2)  # (B, 1, T)
        for stage in self.stages:
            x, mask = stage(x, mask, condition)
        x = F.leaky_relu(x)
        waveform: Tensor = self.output(x if mask is None else x * mask).float().tanh()[:, 0]
        return waveform if mask is None else waveform * mask[:, 0]


class _Stage(nn.Module):
    """One transposed convolution and the mean of its residual blocks."""

    def __init__(self, channels: int, rate: int, kernel: int, config: HifiGanConfig, condition: int):
        super().__init__()
        self.rate = rate
        self.up = weight_norm(
            nn.ConvTranspose1d(
                *(channels, channels // 2, kernel, rate),
                padding=(kernel - rate + 1) // 2,
                output_padding=(kernel - rate) % 2,
            )
        )
        self.norm = ConditionalBatchNorm(channels // 2, condition) if condition else None
        self.blocks = nn.ModuleList(
            _ResidualBlock(channels // 2, size, config.block_dilations) for size in config.block_kernels
        )

    def forward(self, x: Tensor, mask: Tensor | None, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
        x = F.leaky_relu(x, SLOPE)
        x = self.up(x if mask is None else x * mask)
        if mask is not None:
            mask = mask.repeat_interleave(self.rate, dim=2)
        if self.norm is not None:
            x = self.norm(x, condition)
        branches = [block(x, mask) for block in self.blocks]
        return torch.stack(branches).mean(0), mask


class _ResidualBlock(nn.Module):
    """Pairs of a dilated and a plain convolution, each pair added to what it was given."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]):
        super().__init__()

        def convolution(dilation: int) -> nn.Module:
            half = dilation * (kernel // 2)
            made: nn.Module = weight_norm(nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=half))
            return made

        self.dilated = nn.ModuleList(convolution(dilation) for dilation in dilations)
        self.plain = nn.ModuleList(convolution(1) for _ in dilations)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for dilated, plain in zip(self.dilated, self.plain, strict=True):
            hidden = F.leaky_relu(x, SLOPE)
            hidden = F.leaky_relu(dilated(hidden if mask is None else hidden * mask), SLOPE)
            x = x + plain(hidden if mask is None else hidden * mask)
        return x


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and offset come from a vector for each item: (B, D, T) and (B, C) to (B, D, T)."""

    def __init__(self, channels: int, condition: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(channels, affine=False)
        self.modulation = nn.Linear(condition, 2 * channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """What is scaled and moved.

        Raises:
            ValueError: without a condition.
        """
        if condition is None:
            raise ValueError("the generator is conditioned; give it a vector for each item")
        gain, offset = self.modulation(condition)[:, :, None].chunk(2, dim=1)  # (B, D, 1)
        normalised: Tensor = self.norm(x)
        moved: Tensor = normalised * (1.0 + gain) + offset
        return moved
