"""Mel filters, Whisper's log-mel features, and log-mel spectrograms for speech synthesis.

Notation used for shapes: S samples at 16 kHz, M = S // 160 frames (10 ms), C mel channels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from numpy.typing import NDArray
from torch import Tensor, nn

from speechkit.nn.mel_spec import MelSpec

SAMPLE_RATE = 16_000
FFT_SAMPLES = 400
MEL_HOP_SAMPLES = 160


def mel_filters(
    channels: int = 80,
    fft_samples: int = FFT_SAMPLES,
    sample_rate: int = SAMPLE_RATE,
    rounded_heights: bool = False,
) -> NDArray[np.float32]:
    """Triangular, area-normalised filters on Slaney's mel scale (linear to 1 kHz, logarithmic above), as in librosa.

    Implemented here because librosa is not a dependency, torchaudio does not load everywhere, and importing
    `transformers.audio_utils` takes 1.3 s; all spectrograms of the package use these filters.

    Args:
        channels: number of filters.
        fft_samples: size of the FFT.
        sample_rate: in hertz.
        rounded_heights: round to float32 before normalising the areas as well, which matches librosa bit by bit.

    Returns:
        float32 (channels, fft_samples // 2 + 1)
    """

    def to_mel(hertz: np.ndarray) -> np.ndarray:
        linear = hertz * 3.0 / 200.0
        return np.where(hertz < 1000.0, linear, 15.0 + 27.0 * np.log(np.maximum(hertz, 1.0) / 1000.0) / np.log(6.4))

    def to_hertz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0))

    bins = np.linspace(0.0, sample_rate / 2, fft_samples // 2 + 1)
    edges = to_hertz(np.linspace(0.0, float(to_mel(np.array(sample_rate / 2))), channels + 2))
    rising = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    area = 2.0 / (edges[2:] - edges[:-2])
    heights = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray((np.float32(heights) if rounded_heights else heights) * area[:, None], np.float32)


def power_spectrum(
    waveform: Tensor, window: Tensor, fft_samples: int, hop_samples: int, centred: bool = False
) -> Tensor:
    """Squared magnitudes (..., fft_samples // 2 + 1, frames) of a waveform (..., S).

    Args:
        waveform: float32.
        window: (W,), W at most ``fft_samples``, centred in the FFT.
        fft_samples: size of the FFT.
        hop_samples: frame hop.
        centred: centre frame t on sample ``t * hop_samples``, with reflection padding; else frame t starts there.
    """
    spectrum = torch.stft(waveform, fft_samples, hop_samples, len(window), window, center=centred, return_complex=True)
    return spectrum.real.square() + spectrum.imag.square()


class LogMel(nn.Module):
    """Whisper's features: log-mel, floored 80 dB below an item's loudest value, shifted to about [-1, 1]."""

    filters: Tensor
    window: Tensor

    def __init__(self, channels: int = 80):
        super().__init__()
        self.register_buffer("filters", torch.from_numpy(mel_filters(channels)), persistent=False)
        self.register_buffer("window", torch.hann_window(FFT_SAMPLES), persistent=False)

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """(S,) or (B, S) float32 -> (M, C) or (B, M, C) float32; fewer than 201 samples are zero-padded."""
        samples = waveform.shape[-1]
        frames = samples // MEL_HOP_SAMPLES
        if samples <= FFT_SAMPLES // 2:
            waveform = F.pad(waveform, (0, FFT_SAMPLES // 2 + 1 - samples))
        power = power_spectrum(waveform, self.window, FFT_SAMPLES, MEL_HOP_SAMPLES, centred=True)  # (..., 201, M + 1)
        with torch.autocast(waveform.device.type, enabled=False):  # half precision is too coarse for quiet bands
            mel = (self.filters @ power[..., :frames]).clamp_min(1e-10).log10()  # (..., C, M)
        if frames:
            mel = torch.maximum(mel, mel.amax(dim=(-2, -1), keepdim=True) - 8.0)
        return ((mel + 4.0) / 4.0).transpose(-2, -1).contiguous()


class MelSpectrogram(nn.Module):
    """Log-mel frames for vocoders: natural logarithm of mel magnitudes, differentiable.

    Frame t is centred in its hop, with zero padding: S samples have S // hop frames, and trailing zeros do not change
    earlier frames.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, spec: MelSpec | None = None):
        super().__init__()
        self.spec = spec = spec or MelSpec()
        filters = mel_filters(spec.channels, spec.fft_samples, spec.sample_rate)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)
        # On the CPU even for meta networks, for which PyTorch would load its compiler.
        self.register_buffer("window", torch.hann_window(spec.window_samples, device="cpu"), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(S,) or (B, S) float32 in [-1, 1] -> (M, C) or (B, M, C) float32, M = S // hop."""
        spec = self.spec
        if waveform.shape[-1] < spec.hop_samples:
            return waveform.new_zeros(*waveform.shape[:-1], 0, spec.channels)
        with torch.autocast(waveform.device.type, enabled=False):
            around = (spec.fft_samples - spec.hop_samples) // 2
            padded = F.pad(waveform.float(), (around, around))
            power = power_spectrum(padded, self.window, spec.fft_samples, spec.hop_samples)  # (..., fft // 2 + 1, M)
            magnitude = power.clamp_min(1e-14).sqrt()  # the gradient of the square root is infinite at 0
            mel = (self.filters @ magnitude).clamp_min(spec.floor).log()
        return mel.transpose(-2, -1).contiguous()


def stack_frames(frames: Tensor, count: int = 2) -> Tensor:
    """Concatenate groups of ``count`` frames, (..., M, C) -> (..., M // count, count * C), dropping a remainder."""
    whole = frames.shape[-2] // count
    return frames[..., : whole * count, :].reshape(*frames.shape[:-2], whole, count * frames.shape[-1])


def unstack_frames(stacked: Tensor, count: int = 2) -> Tensor:
    """Inverse of `stack_frames`, (..., T, count * C) -> (..., count * T, C)."""
    return stacked.reshape(*stacked.shape[:-2], count * stacked.shape[-2], stacked.shape[-1] // count)
