"""What a vocoder is trained by: spectra alone at first, then adversaries as well.

A batch holds ``frames`` (B, T, D) or units (B, T), ``waveforms`` (B, S) and, for vocoders with a speaker,
``references`` (B, R).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from speechkit.nn.mel_spec import MelSpec
from speechkit.training.objective import Batch, Objective, Turn, mean_losses
from speechkit.tts.vocoder.config import MelInput
from speechkit.tts.vocoder.discriminators import Discriminators
from speechkit.tts.vocoder.harmonic_source import Pitch
from speechkit.tts.vocoder.losses import (
    MelDistance,
    StftDistance,
    discriminator_loss,
    feature_loss,
    generator_loss,
)
from speechkit.tts.vocoder.training_config import DiscriminatorConfig, LossConfig
from speechkit.tts.vocoder.vocoder import Vocoder

BETAS = (0.8, 0.99)
"""Of AdamW, as in HiFi-GAN."""
Generated = tuple[Tensor, Tensor, dict[str, float]]
"""Waveforms (B, S), a loss of the generator's own, and its parts to log."""


class Spectra(nn.Module):
    """How far generated waveforms lie from recorded ones: the loss, and its parts to log."""

    def __init__(self, config: LossConfig, mel: MelSpec):
        super().__init__()
        self.config = config
        self.mel, self.stft = MelDistance(mel), StftDistance(config.stft_resolutions)

    def forward(self, made: Tensor, recorded: Tensor) -> tuple[Tensor, dict[str, float]]:
        """(B, S) twice."""
        mel, stft = self.mel(made, recorded), self.stft(made, recorded)
        loss = self.config.mel * mel + self.config.stft * stft
        return loss, {"mel": float(mel.detach()), "stft": float(stft.detach())}


class AdversarialNetworks(nn.Module):
    """A vocoder, its discriminators, and what measures spectra."""

    def __init__(self, vocoder: Vocoder, discriminators: Discriminators, spectra: Spectra):
        super().__init__()
        self.vocoder, self.discriminators, self.spectra = vocoder, discriminators, spectra


class SpectralNetworks(nn.Module):
    """A vocoder and what measures spectra."""

    def __init__(self, vocoder: Vocoder, spectra: Spectra):
        super().__init__()
        self.vocoder, self.spectra = vocoder, spectra


def vocoded(network: Any, batch: Batch) -> Tensor:
    """The waveforms (B, S) of a batch, by speakers of its references and with noise of torch's generator."""
    vocoder = network.vocoder
    return _waveforms(vocoder, batch, _condition(vocoder, batch))


def vocoded_with_pitch(network: Any, batch: Batch) -> Generated:
    """`vocoded`, and the loss of the pitch predictor of a harmonic source; zero for other vocoders."""
    vocoder = network.vocoder
    condition = _condition(vocoder, batch)  # of both: a second one would have other noise
    made, pitch = _waveforms(vocoder, batch, condition), _pitch(vocoder, batch)
    if pitch is None:
        return made, made.new_zeros(()), {}
    return made, *vocoder.pitch_loss(batch["frames"], condition, pitch)


def _waveforms(vocoder: Vocoder, batch: Batch, condition: Tensor | None) -> Tensor:
    # A harmonic source takes the pitch of the recording: pulses at a wrong pitch give no useful gradient.
    made: Tensor = vocoder(batch["frames"], None, condition, _pitch(vocoder, batch))
    return made


def _pitch(vocoder: Vocoder, batch: Batch) -> Pitch | None:
    return Pitch(batch["hertz"], batch["voiced"]) if vocoder.config.harmonic else None


def _condition(vocoder: Vocoder, batch: Batch) -> Tensor | None:
    speakers = noise = None
    if vocoder.speaker is not None:
        speakers = vocoder.speaker(batch["references"])
    if vocoder.config.noise:
        noise = torch.randn(len(batch["waveforms"]), vocoder.config.noise, device=batch["waveforms"].device)
    return vocoder.conditions(speakers, noise)


def spectral_loss(network: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Distance of spectra, plus the pitch loss of a harmonic source."""
    made, pitch, pitch_values = vocoded_with_pitch(network, batch)
    loss, values = network.spectra(made, batch["waveforms"])
    return loss + pitch, values | pitch_values


def adversary_turn(
    config: LossConfig, generate: Callable[[Any, Batch], Tensor] = vocoded
) -> Callable[[Any, Batch], tuple[Tensor, dict[str, float]]]:
    """The discriminators' loss."""

    def loss(network: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            made = generate(network, batch)
        recorded_by_period, recorded_by_resolution = network.discriminators(batch["waveforms"])
        made_by_period, made_by_resolution = network.discriminators(made)
        total = made.new_zeros(())
        if recorded_by_period:
            total = total + discriminator_loss(recorded_by_period, made_by_period, config.kind)
        if recorded_by_resolution:
            resolution = discriminator_loss(recorded_by_resolution, made_by_resolution, config.kind)
            total = total + config.resolution * resolution
        return total, {}

    return loss


def generator_turn(
    config: LossConfig,
    generate: Callable[[Any, Batch], Generated] = vocoded_with_pitch,
) -> Callable[[Any, Batch], tuple[Tensor, dict[str, float]]]:
    """The generator's loss, with its own of ``generate``."""

    def loss(network: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        made, own, own_values = generate(network, batch)
        total, values = network.spectra(made, batch["waveforms"])
        with torch.no_grad():
            recorded = network.discriminators(batch["waveforms"])
        for weight, real, fake in zip((1.0, config.resolution), recorded, network.discriminators(made), strict=True):
            if not real:
                continue
            fooled, features = generator_loss(fake, config.kind), feature_loss(real, fake)
            total = total + weight * (config.adversarial * fooled + config.features * features)
            name = "resolution" if real is recorded[1] else "period"
            values |= {f"{name}_fooled": float(fooled.detach()), f"{name}_features": float(features.detach())}
        return total + own, values | own_values

    return loss


def spectral_objective(
    vocoder: Vocoder, losses: LossConfig, batch: Callable[[int], Batch], judged: Sequence[Batch]
) -> Objective:
    """Train a vocoder by spectra alone: some steps of it spare many with adversaries."""
    network = SpectralNetworks(vocoder, Spectra(losses, judged_mel(vocoder)))
    turn = Turn(spectral_loss, [list(vocoder.parameters())], betas=BETAS)
    return Objective(network, [turn], batch, mean_losses(spectral_loss, judged), save=_saving(vocoder))


def adversarial_objective(
    vocoder: Vocoder,
    discriminators: DiscriminatorConfig,
    losses: LossConfig,
    batch: Callable[[int], Batch],
    judged: Sequence[Batch],
) -> Objective:
    """Train a vocoder against discriminators: they move first in each step."""
    network = AdversarialNetworks(vocoder, Discriminators(discriminators), Spectra(losses, judged_mel(vocoder)))
    turns = [
        Turn(adversary_turn(losses), [list(network.discriminators.parameters())], "discriminators", betas=BETAS),
        Turn(generator_turn(losses), [list(vocoder.parameters())], "vocoder", betas=BETAS),
    ]
    return Objective(network, turns, batch, mean_losses(spectral_loss, judged), save=_saving(vocoder))


def judged_mel(vocoder: Vocoder) -> MelSpec:
    """The log-mel frames that a vocoder's waveforms are compared in: its input's, or those of its sample rate."""
    taken = vocoder.config.input
    if isinstance(taken, MelInput):
        return taken.mel
    factor = vocoder.sample_rate / MelSpec().sample_rate
    if factor == 1.0:
        return MelSpec()
    sizes = {name: 2 * round(getattr(MelSpec(), name) * factor / 2) for name in ("window_samples", "hop_samples")}
    fft = 2 ** max(1, (sizes["window_samples"] - 1).bit_length())
    return msgspec.structs.replace(MelSpec(), sample_rate=vocoder.sample_rate, fft_samples=fft, **sizes)


def _saving(vocoder: Vocoder) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        vocoder.save_pretrained(folder)

    return save
