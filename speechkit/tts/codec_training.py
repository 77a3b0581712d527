"""Training objective of a scalar codec: distances of spectra and samples, and optional adversarial losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.nn.mel_spec import MelSpec
from speechkit.training.objective import Batch, Objective, Turn, mean_losses
from speechkit.tts.codec import ScalarCodec, SpectralBody
from speechkit.tts.vocoder.discriminators import Discriminators
from speechkit.tts.vocoder.objective import BETAS, Generated, Spectra, adversary_turn, generator_turn
from speechkit.tts.vocoder.training_config import DiscriminatorConfig, LossConfig


class ReconstructionLoss(Spectra):
    """Spectral distance of decoded from recorded waveforms, plus ``samples_weight`` times that of samples (L1)."""

    def __init__(self, config: LossConfig, mel: MelSpec, samples_weight: float):
        super().__init__(config, mel)
        self.samples_weight = samples_weight

    def forward(self, made: Tensor, recorded: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Decoded and recorded waveforms, (B, S) each -> the loss, and its parts for the log."""
        loss, values = super().forward(made, recorded)
        if not self.samples_weight:
            return loss, values
        samples = F.l1_loss(made, recorded)
        return loss + self.samples_weight * samples, {**values, "samples": float(samples.detach())}


class CodecNetworks(nn.Module):
    """A codec, its reconstruction loss and, in adversarial training, its discriminators."""

    def __init__(self, codec: ScalarCodec, spectra: ReconstructionLoss, discriminators: Discriminators | None):
        super().__init__()
        self.codec, self.spectra, self.discriminators = codec, spectra, discriminators


def decoded(network: Any, batch: Batch) -> Tensor:
    """The codec's reconstruction of a batch's waveforms (B, S)."""
    waveforms: Tensor = network.codec(batch["waveforms"])
    return waveforms


def decoded_alone(network: Any, batch: Batch) -> Generated:
    """`decoded`, without a loss of the codec's own."""
    made = decoded(network, batch)
    return made, made.new_zeros(()), {}


def distance_loss(network: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """The reconstruction loss, without adversarial losses."""
    loss: tuple[Tensor, dict[str, float]] = network.spectra(decoded(network, batch), batch["waveforms"])
    return loss


def codec_objective(
    codec: ScalarCodec,
    losses: LossConfig,
    batch: Callable[[int], Batch],
    held_out: Sequence[Batch],
    *,
    samples_weight: float = 0.0,
    discriminators: DiscriminatorConfig | None = None,
) -> Objective:
    """Objective that trains a codec to reconstruct waveforms.

    Args:
        codec: trained in place.
        losses: weights of spectral and adversarial losses.
        batch: maps a batch number to ``waveforms`` (B, S).
        held_out: batches on which the loss is evaluated.
        samples_weight: weight of the L1 distance of samples; the spectral body keeps no phase and gains nothing by it.
        discriminators: None trains without adversarial losses.
    """
    mel = codec.config.body.mel if isinstance(codec.config.body, SpectralBody) else MelSpec()
    adversary = Discriminators(discriminators) if discriminators else None
    network = CodecNetworks(codec, ReconstructionLoss(losses, mel, samples_weight), adversary)
    parameters = [list(codec.parameters())]
    turns = [Turn(distance_loss, parameters, betas=BETAS)]
    if adversary is not None:
        turns = [
            Turn(adversary_turn(losses, decoded), [list(adversary.parameters())], "discriminators", betas=BETAS),
            Turn(generator_turn(losses, decoded_alone), parameters, "codec", betas=BETAS),
        ]
    return Objective(network, turns, batch, mean_losses(distance_loss, held_out), save=codec.save_pretrained)
