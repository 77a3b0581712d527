"""The Vocos generator: blocks at the frame rate, then magnitudes and phases, then an inverse STFT.

Notation used for shapes: B items, T generator frames, D width, F = fft // 2 + 1 frequencies, C width of the condition.
Source: Siuzdak 2023, "Vocos"; magnitudes from the inverse of the mel filters: Lv et al. 2024, "FreeV".
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.nn.convnext import ConvNeXtBlock
from speechkit.nn.inverse_stft import InverseStft
from speechkit.nn.mel import mel_filters
from speechkit.nn.mel_spec import MelSpec
from speechkit.tts.vocoder.config import VocosConfig
from speechkit.tts.vocoder.harmonic_source import HarmonicSource, Origin, Pitch, PitchPredictor, SourceMixer

LARGEST_LOG_MAGNITUDE = 6.0
"""Magnitudes of speech in [-1, 1] under a window of 640 samples stay below e ** 6."""


class Vocos(nn.Module):
    """Frames (B, T, D) to waveforms (B, T * hop)."""

    def __init__(self, config: VocosConfig, mel: MelSpec | None = None, condition: int = 0, sample_rate: int = 16_000):
        super().__init__()
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(config.width, config.inner, config.kernel, 1.0 / config.layers, condition)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        frequencies = config.fft_samples // 2 + 1
        self.magnitude = nn.Linear(config.width, frequencies)
        self.phase = nn.Linear(config.width, frequencies)
        self.magnitudes = MelMagnitudes(mel, config.fft_samples) if mel and config.mel_magnitudes else None
        self.inverse = InverseStft(config.fft_samples, config.hop_samples)
        self.pitch: PitchPredictor | None = None
        if config.harmonics is not None:
            self.pitch = PitchPredictor(config.harmonics, config.width, config.kernel, condition)
            self.source = HarmonicSource(config, sample_rate)
            self.mixer = SourceMixer(config, sample_rate)
        for name, layer in self.named_modules():
            # A condition begins without effect.
            if isinstance(layer, (nn.Linear, nn.Conv1d)) and not name.endswith("modulation"):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(
        self,
        hidden: Tensor,
        mel: Tensor,
        inside: Tensor | None = None,
        condition: Tensor | None = None,
        pitch: Pitch | None = None,
        origin: Origin | None = None,
    ) -> Tensor:
        """Samples (B, T * hop).

        Args:
            hidden: (B, T, D).
            mel: log-mel frames (B, T, M) where there are any.
            inside: (B, T, 1), 1 at an item's own frames.
            condition: (B, C).
            pitch: of the harmonic source; predicted when absent.
            origin: position of a chunk of a stream.
        """
        if self.pitch is not None and pitch is None:
            pitch = self.pitch.decoded(self.pitch(hidden, inside, condition))
        for block in self.blocks:
            hidden = block(hidden, inside, condition)
        hidden = self.norm(hidden)
        # Phases in half precision would be heard.
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = hidden.float()
            log_magnitude = self.magnitude(hidden)
            if self.magnitudes is not None:
                log_magnitude = log_magnitude + self.magnitudes(mel)
            phase = self.phase(hidden)
            phasors = torch.complex(phase.cos(), phase.sin())
            if pitch is not None:
                pulses, noise = self.source(pitch, inside, origin)
                start, fine = self.mixer(hidden, pulses, noise, pitch.voiced)
                phasors, log_magnitude = phasors * start, log_magnitude + fine
            magnitude = log_magnitude.clamp_max(LARGEST_LOG_MAGNITUDE).exp()
            waveforms: Tensor = self.inverse(magnitude * phasors.real, magnitude * phasors.imag, inside)
        return waveforms


class MelMagnitudes(nn.Module):
    """Logarithms of the magnitudes that log-mel frames stand for: (B, T, M) to (B, T, F)."""

    spread: Tensor

    def __init__(self, mel: MelSpec, fft_samples: int):
        super().__init__()
        filters = mel_filters(mel.channels, fft_samples, mel.sample_rate).astype(np.float64)
        # A spectrum of more samples has as many more frequencies under each filter, with the same magnitudes.
        spread = np.linalg.pinv(filters * (mel.fft_samples / fft_samples))
        self.register_buffer("spread", torch.from_numpy(spread.astype(np.float32)), persistent=False)
        self._floor = mel.floor

    def forward(self, mel: Tensor) -> Tensor:
        """The least magnitudes that give these frames; what would be negative is nearly silent."""
        return (mel.float().exp() @ self.spread.T).clamp_min(self._floor).log()
