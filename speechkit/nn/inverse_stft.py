"""Inverse STFT with exactly one hop of samples per frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn


class InverseStft(nn.Module):
    """Overlap-add of windowed inverse spectra, normalised by the sum of squared windows: T frames to T hops.

    Frame t is centred in its hop, as in `speechkit.nn.mel.MelSpectrogram`; the excess of the window is trimmed at the
    ends.

    Args:
        fft_samples: size of the FFT and of the Hann window; a multiple of the hop, at least two hops.
        hop_samples: frame hop.

    Raises:
        ValueError: if it is not, or the excess of the window is odd.
    """

    window: Tensor

    def __init__(self, fft_samples: int = 640, hop_samples: int = 160):
        super().__init__()
        if fft_samples % hop_samples or fft_samples < 2 * hop_samples or (fft_samples - hop_samples) % 2:
            raise ValueError(
                f"fft_samples is {fft_samples} and hop_samples {hop_samples}; the first must be a multiple, at least "
                "two hops, and the difference even"
            )
        self.fft_samples, self.hop_samples = fft_samples, hop_samples
        # On the CPU even for meta networks, for which PyTorch would load its compiler.
        self.register_buffer("window", torch.hann_window(fft_samples, device="cpu"), persistent=False)

    @property
    def neighbours(self) -> int:
        """Number of frames on each side that affect a hop of samples."""
        return self.fft_samples // (2 * self.hop_samples)

    def forward(self, real: Tensor, imaginary: Tensor, inside: Tensor | None = None) -> Tensor:
        """(B, T, fft // 2 + 1) twice -> (B, T * hop) float32; ``inside`` (B, T, 1) is 0 for padding."""
        with torch.autocast(real.device.type, enabled=False):
            spectrum = torch.complex(real.float(), imaginary.float())
            frames = torch.fft.irfft(spectrum, self.fft_samples) * self.window  # (B, T, fft)
            count = real.shape[1]
            squares = self.window.square().expand(1, count, -1)
            if inside is not None:
                frames, squares = frames * inside, squares * inside
            cut = (self.fft_samples - self.hop_samples) // 2
            whole = slice(cut, cut + count * self.hop_samples)
            return self._overlap_add(frames)[:, whole] / self._overlap_add(squares)[:, whole].clamp_min(1e-9)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """(B, T, fft) -> (B, (T - 1) * hop + fft)."""
        ratio = self.fft_samples // self.hop_samples
        parts = frames.reshape(*frames.shape[:2], ratio, self.hop_samples)  # (B, T, ratio, hop)
        shifted = [F.pad(parts[:, :, part], (0, 0, part, ratio - 1 - part)) for part in range(ratio)]
        return torch.stack(shifted).sum(0).flatten(1)
