"""Harmonic excitation of a vocoder: a predicted pitch contour, and a pulse train and noise that initialise its phases.

Log-mel frames determine magnitudes well. Phases that are coherent across frames are what a small network learns last,
and without them low voices lose their pitch. A pulse train at the predicted pitch has such phases.

Notation used for shapes: B items, T generator frames, D width, F frequencies, H samples a frame.
Source: Wang et al. 2019, "Neural source-filter-based waveform model"; Li et al. 2023, "HiFTNet" (pulses as the phase of
an inverse STFT).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.nn.convnext import ConvNeXtBlock
from speechkit.tts.vocoder.config import HarmonicConfig, VocosConfig

LOWEST, HIGHEST = 60.0, 500.0
"""Hertz: the ends of the pitch scale."""
BINS = 64
"""Of the logarithmic pitch scale: 58 cents each."""
PEAK_BINS = 2
"""On each side of the most probable bin, over which the mean is taken."""
HIGHEST_HARMONIC = 0.475
"""In parts of the sample rate."""
NOISE_SAMPLES = 2**16
"""Period of the noise: four seconds at 16 kHz."""
MIXED_HERTZ, MIXED_WIDTH = 4000.0, 500.0
"""Crossover from pulses to noise at initialisation."""


class Pitch(NamedTuple):
    """Pitch of generator frames in hertz (B, T), and 1 where a frame is voiced (B, T)."""

    hertz: Tensor
    voiced: Tensor


class Origin(NamedTuple):
    """Position of a chunk in its stream: cycles at the centre of its first frame (B,) float64, samples before it."""

    cycles: Tensor
    samples: int


class PitchPredictor(nn.Module):
    """Pitch predictor over frames (B, T, D): ConvNeXt blocks, then logits of the pitch bins and of voicing."""

    centres: Tensor

    def __init__(self, config: HarmonicConfig, width: int, kernel: int, condition: int = 0):
        super().__init__()
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(width, config.inner, kernel, 1.0 / config.layers, condition) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.output = nn.Linear(width, BINS + 1)
        # On the processor even where the network is built on the meta device.
        octaves = torch.linspace(0.0, 1.0, BINS, device="cpu") * torch.tensor(HIGHEST / LOWEST, device="cpu").log()
        self.register_buffer("centres", octaves, persistent=False)

    def forward(self, hidden: Tensor, inside: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """Logits (B, T, BINS + 1), of the bins and, last, of voicing."""
        for block in self.blocks:
            hidden = block(hidden, inside, condition)
        logits: Tensor = self.output(self.norm(hidden))
        return logits.float()

    def decoded(self, logits: Tensor) -> Pitch:
        """Mean of the bins around the most probable one; voiced where that is at least as probable as not."""
        scores, voiced = logits[..., :BINS], logits[..., BINS] > 0
        best = scores.argmax(-1, keepdim=True)
        near = (torch.arange(BINS, device=scores.device) - best).abs() <= PEAK_BINS
        posterior = scores.masked_fill(~near, -torch.inf).softmax(-1)
        return Pitch(LOWEST * (posterior @ self.centres).exp(), voiced.to(scores.dtype))

    def loss(self, logits: Tensor, pitch: Pitch) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of the bins in voiced frames plus that of voicing; with the accuracy of each, to log."""
        position = (pitch.hertz.clamp(LOWEST, HIGHEST) / LOWEST).log() / self.centres[1]
        lower = position.floor().clamp(0, BINS - 2)
        upper_share = (position - lower)[..., None]
        log_posterior = logits[..., :BINS].log_softmax(-1)
        index = lower.long()[..., None]
        fit = (1 - upper_share) * log_posterior.gather(-1, index) + upper_share * log_posterior.gather(-1, index + 1)
        voiced = pitch.voiced
        bins = -(fit[..., 0] * voiced).sum() / voiced.sum().clamp_min(1.0)
        voicing = F.binary_cross_entropy_with_logits(logits[..., BINS], voiced)
        with torch.no_grad():
            predicted = self.decoded(logits)
            voicing_accuracy = (predicted.voiced == voiced).float().mean()
            close = (predicted.hertz / pitch.hertz.clamp_min(1.0)).log().abs() < 0.03
            pitch_accuracy = (close * voiced).sum() / voiced.sum().clamp_min(1.0)
        return bins + voicing, {"voicing": float(voicing_accuracy), "pitch": float(pitch_accuracy)}


def cycles_at_centres(hertz: Tensor, hop: int, rate: int, first: Tensor | None = None) -> Tensor:
    """Cycles elapsed at the centre of every frame, with pitch interpolated linearly between centres.

    Shapes: (B, T) hertz, and (B,) cycles at the first centre, 0 when absent -> (B, T) float64.
    """
    hertz = hertz.double()
    steps = (hertz[:, 1:] + hertz[:, :-1]) * (0.5 * hop / rate)
    begin = (hertz.new_zeros(len(hertz)) if first is None else first)[:, None]
    return torch.cat([begin, begin + steps.cumsum(1)], 1)


class HarmonicSource(nn.Module):
    """Short-time spectra of a pulse train and of noise, in the frames of an inverse STFT.

    Args:
        config: of that inverse STFT.
        sample_rate: in hertz.
    """

    window: Tensor
    noise: Tensor

    def __init__(self, config: VocosConfig, sample_rate: int):
        super().__init__()
        self.fft_samples, self.hop_samples, self.rate = config.fft_samples, config.hop_samples, sample_rate
        self.register_buffer("window", torch.hann_window(config.fft_samples, device="cpu"), persistent=False)
        drawn = torch.randn(NOISE_SAMPLES, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
        self.register_buffer("noise", drawn, persistent=False)

    def forward(
        self, pitch: Pitch, inside: Tensor | None = None, origin: Origin | None = None
    ) -> tuple[Tensor, Tensor]:
        """Spectra of pulses and of noise, each (B, T, F) complex; ``inside`` (B, T, 1) is 1 at an item's own frames."""
        hop, (batch, frames) = self.hop_samples, pitch.hertz.shape
        hertz = pitch.hertz
        if inside is not None:
            # Padding repeats the last frame, so that an item gives the same samples alone and in a batch.
            last = (inside[:, :, 0].sum(1).long() - 1).clamp_min(0)[:, None]
            hertz = hertz.gather(1, torch.minimum(torch.arange(frames, device=hertz.device)[None], last))
        first = None if origin is None else origin.cycles
        pulses = self._pulses(hertz, cycles_at_centres(hertz, hop, self.rate, first))
        begin = (0 if origin is None else origin.samples) % NOISE_SAMPLES
        positions = (torch.arange(frames * hop, device=hertz.device) + begin) % NOISE_SAMPLES
        noise = self.noise[positions].expand(batch, -1)
        if inside is not None:
            sounding = inside[:, :, 0].repeat_interleave(hop, dim=1)
            pulses, noise = pulses * sounding, noise * sounding
        return self._spectra(pulses), self._spectra(noise)

    def _pulses(self, hertz: Tensor, cycles: Tensor) -> Tensor:
        """Pulse trains (B, T * hop) of unit power, in closed form, from hertz and cycles (B, T)."""
        hop = self.hop_samples
        # Pitch is linear between centres, and constant before the first and after the last.
        begin = torch.cat([hertz[:, :1], hertz], 1).double()  # (B, T + 1)
        end = torch.cat([hertz, hertz[:, -1:]], 1).double()
        first = cycles[:, :1] - hertz[:, :1].double() * hop / self.rate
        start = torch.cat([first, cycles], 1)
        offset = torch.arange(hop, device=hertz.device, dtype=torch.float64) + 0.5
        rise = (end - begin)[:, :, None] * (offset.square() / (2 * hop))
        phase = start[:, :, None] + (begin[:, :, None] * offset + rise) / self.rate  # (B, T + 1, hop)
        local = begin[:, :, None] + (end - begin)[:, :, None] * (offset / hop)
        half = hop // 2
        phase, local = (each.flatten(1)[:, half : half + hertz.shape[1] * hop] for each in (phase, local))
        count = (HIGHEST_HARMONIC * self.rate / local).floor().float()
        angle = torch.pi * (phase - phase.round()).float()
        sine = angle.sin()
        tiny = sine.abs() < 1e-5
        kernel = ((2 * count + 1) * angle).sin() / torch.where(tiny, 1.0, 2 * sine) - 0.5
        return torch.where(tiny, count, kernel) / (0.5 * count).sqrt()

    def _spectra(self, samples: Tensor) -> Tensor:
        cut = (self.fft_samples - self.hop_samples) // 2
        frames = F.pad(samples, (cut, cut)).unfold(1, self.fft_samples, self.hop_samples)
        spectra: Tensor = torch.fft.rfft(frames * self.window)
        return spectra


class SourceMixer(nn.Module):
    """Mixes the spectra of pulses and noise by hidden frames (B, T, D) into initial phases and fine structure."""

    def __init__(self, config: VocosConfig, sample_rate: int):
        super().__init__()
        frequencies = config.fft_samples // 2 + 1
        self.noise_share = nn.Linear(config.width, frequencies)
        self.fine = nn.Parameter(torch.zeros(frequencies))
        hertz = torch.linspace(0.0, sample_rate / 2, frequencies, device="cpu")
        self.register_buffer("tilt", (hertz - MIXED_HERTZ) / MIXED_WIDTH, persistent=False)
        self.register_buffer("gain", torch.hann_window(config.fft_samples, device="cpu").square().sum().sqrt(), False)

    tilt: Tensor
    gain: Tensor

    def forward(self, hidden: Tensor, pulses: Tensor, noise: Tensor, voiced: Tensor) -> tuple[Tensor, Tensor]:
        """Unit phasors (B, T, F) complex, and the fine structure to add to log magnitudes (B, T, F)."""
        share = voiced[:, :, None] * torch.sigmoid(-(self.noise_share(hidden) + self.tilt))
        mixed = pulses * share + noise * (1.0 - share)
        size = mixed.abs().clamp_min(1e-5)
        return mixed / size, self.fine * (size / self.gain).log().clamp(-6.0, 3.0)
