"""Who tells generated waveforms from recorded ones while a vocoder is trained: by periods and by resolutions.

Notation used for shapes: B items, S samples, T frames, F frequencies.
Source: Kong et al. 2020, "HiFi-GAN" (periods); Jang et al. 2021, "UnivNet" (resolutions). WavThruVec adds the periods
13, 17 and 19 to the usual five.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from speechkit.tts.vocoder.training_config import DiscriminatorConfig

SLOPE = 0.1


class Judgement(NamedTuple):
    """What one discriminator says: ``scores`` (B, n), high for recorded, and the ``features`` of its layers."""

    scores: Tensor
    features: list[Tensor]


class Discriminators(nn.Module):
    """All discriminators of a training: (B, S) to a judgement of each."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        self.periods = nn.ModuleList(PeriodDiscriminator(period, config.period_channels) for period in config.periods)
        self.resolutions = nn.ModuleList(
            ResolutionDiscriminator(size, config.resolution_channels) for size in config.resolutions
        )

    def forward(self, waveforms: Tensor) -> tuple[list[Judgement], list[Judgement]]:
        """The judgements by periods, and those by resolutions."""
        return [each(waveforms) for each in self.periods], [each(waveforms) for each in self.resolutions]


class PeriodDiscriminator(nn.Module):
    """Convolutions over samples that lie a period apart; each of a period's phases is an item by itself."""

    def __init__(self, period: int, channels: tuple[int, ...]):
        super().__init__()
        self.period = period
        widths = (1, *channels)
        last = len(channels) - 1
        self.convolutions = nn.ModuleList(
            weight_norm(nn.Conv1d(before, after, 5, 3 if place < last else 1, padding=2))
            for place, (before, after) in enumerate(zip(widths, channels, strict=False))
        )
        self.output = weight_norm(nn.Conv1d(channels[-1], 1, 3, padding=1))

    def forward(self, waveforms: Tensor) -> Judgement:
        """(B, S) to scores and features."""
        rest = -waveforms.shape[1] % self.period
        folded = F.pad(waveforms, (0, rest)).view(len(waveforms), -1, self.period)  # (B, S / period, period)
        return _judge(self.convolutions, self.output, folded.transpose(1, 2).flatten(0, 1)[:, None])


class ResolutionDiscriminator(nn.Module):
    """Convolutions over a magnitude spectrogram."""

    window: Tensor

    def __init__(self, fft_samples: int, channels: int):
        super().__init__()
        self.fft_samples = fft_samples
        self.register_buffer("window", torch.hann_window(fft_samples), persistent=False)
        shapes = [((3, 9), (1, 1)), ((3, 9), (1, 2)), ((3, 9), (1, 2)), ((3, 9), (1, 2)), ((3, 3), (1, 1))]
        self.convolutions = nn.ModuleList(
            weight_norm(nn.Conv2d(channels if place else 1, channels, kernel, stride, (kernel[0] // 2, kernel[1] // 2)))
            for place, (kernel, stride) in enumerate(shapes)
        )
        self.output = weight_norm(nn.Conv2d(channels, 1, (3, 3), padding=(1, 1)))

    def forward(self, waveforms: Tensor) -> Judgement:
        """(B, S) to scores and features."""
        x = magnitudes(waveforms, self.window)[:, None]  # (B, 1, T, F)
        return _judge(self.convolutions, self.output, x)


def _judge(convolutions: nn.ModuleList, output: nn.Module, x: Tensor) -> Judgement:
    features = []
    for convolution in convolutions:
        x = F.leaky_relu(convolution(x), SLOPE)
        features.append(x)
    return Judgement(output(x).float().flatten(1), features)


def magnitudes(waveforms: Tensor, window: Tensor) -> Tensor:
    """Magnitudes (B, T, F) of waveforms (B, S) in float32, a quarter of the window from frame to frame."""
    size = len(window)
    with torch.autocast(waveforms.device.type, enabled=False):
        padded = F.pad(waveforms.float(), (size * 3 // 8, size * 3 // 8))
        spectrum = torch.stft(padded, size, size // 4, window=window, center=False, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        return power.clamp_min(1e-10).sqrt().transpose(1, 2)
