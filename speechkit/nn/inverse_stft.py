"""Spectra to samples: an inverse STFT of exactly one hop of samples a frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn


class InverseStft(nn.Module):
    """Overlap-add of windowed inverse spectra, divided by the sum of the squared windows: T frames, T hops of samples.

    Frame t is centred in its hop, as those of `speechkit.nn.mel.MelSpectrogram` are: half of what the window is longer
    than a hop stands out on both sides, and is cut off at the ends.

    Args:
        fft_samples: of the spectrum and of its Hann window; a multiple of the hop, from two hops on.
        hop_samples: from one frame to the next.

    Raises:
        ValueError: if it is not, or what stands out cannot be halved.
    """

    window: Tensor

    def __init__(self, fft_samples: int = 640, hop_samples: int = 160):
        super().__init__()
        if fft_samples % hop_samples or fft_samples < 2 * hop_samples or (fft_samples - hop_samples) % 2:
            raise ValueError(
                f"an FFT of {fft_samples} and a hop of {hop_samples} samples; the first must be a multiple, from two "
                "on, and the difference even"
            )
        self.fft_samples, self.hop_samples = fft_samples, hop_samples
        # On the processor even where a network is made without memory: there it would load a compiler, seconds long.
        self.register_buffer("window", torch.hann_window(fft_samples, device="cpu"), persistent=False)

    @property
    def neighbours(self) -> int:
        """Frames on each side that a hop of samples depends on."""
        return self.fft_samples // (2 * self.hop_samples)

    def forward(self, real: Tensor, imaginary: Tensor, inside: Tensor | None = None) -> Tensor:
        """(B, T, fft // 2 + 1) twice to (B, T * hop) float32; ``inside`` (B, T, 1) is 1 at an item's own frames."""
        with torch.autocast(real.device.type, enabled=False):
            spectrum = torch.complex(real.float(), imaginary.float())
            frames = torch.fft.irfft(spectrum, self.fft_samples) * self.window  # (B, T, fft)
            count = real.shape[1]
            squares = self.window.square().expand(1, count, -1)
            if inside is not None:
                frames, squares = frames * inside, squares * inside
            cut = (self.fft_samples - self.hop_samples) // 2
            whole = slice(cut, cut + count * self.hop_samples)
            return self._overlapped(frames)[:, whole] / self._overlapped(squares)[:, whole].clamp_min(1e-9)

    def _overlapped(self, frames: Tensor) -> Tensor:
        """(B, T, fft) to (B, (T - 1) * hop + fft)."""
        ratio = self.fft_samples // self.hop_samples
        parts = frames.reshape(*frames.shape[:2], ratio, self.hop_samples)  # (B, T, ratio, hop)
        shifted = [F.pad(parts[:, :, part], (0, 0, part, ratio - 1 - part)) for part in range(ratio)]
        return torch.stack(shifted).sum(0).flatten(1)
