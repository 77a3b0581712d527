"""How a scalar codec learns: its waveforms shall have the spectra, and the samples, of those that it was given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.nn.mel_spec import MelSpec
from speechkit.training.objective import Batch, Objective, Turn, mean_losses
from speechkit.tts.codec import ScalarCodec, SpectralBody
from speechkit.tts.vocoder.discriminators import Discriminators
from speechkit.tts.vocoder.objective import BETAS, Spectra, adversary_turn, generator_turn
from speechkit.tts.vocoder.training_config import DiscriminatorConfig, LossConfig


class Distances(Spectra):
    """How far decoded waveforms lie from recorded ones: by their spectra, and ``samples_weight`` times by samples."""

    def __init__(self, config: LossConfig, mel: MelSpec, samples_weight: float):
        super().__init__(config, mel)
        self.samples_weight = samples_weight

    def forward(self, made: Tensor, recorded: Tensor) -> tuple[Tensor, dict[str, float]]:
        """(B, S) twice."""
        loss, values = super().forward(made, recorded)
        if not self.samples_weight:
            return loss, values
        samples = F.l1_loss(made, recorded)
        return loss + self.samples_weight * samples, {**values, "samples": float(samples.detach())}


class CodecNetworks(nn.Module):
    """A codec, what measures distances, and the discriminators where there are any."""

    def __init__(self, codec: ScalarCodec, spectra: Distances, discriminators: Discriminators | None):
        super().__init__()
        self.codec, self.spectra, self.discriminators = codec, spectra, discriminators


def decoded(network: Any, batch: Batch) -> Tensor:
    """What is left of a batch's waveforms (B, S)."""
    made: Tensor = network.codec(batch["waveforms"])
    return made


def distance_loss(network: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Distances alone."""
    found: tuple[Tensor, dict[str, float]] = network.spectra(decoded(network, batch), batch["waveforms"])
    return found


def codec_objective(
    codec: ScalarCodec,
    losses: LossConfig,
    batch: Callable[[int], Batch],
    judged: Sequence[Batch],
    *,
    samples_weight: float = 0.0,
    discriminators: DiscriminatorConfig | None = None,
) -> Objective:
    """Learn to give waveforms back.

    Args:
        codec: changed in place.
        losses: weights of spectra and adversaries.
        batch: ``waveforms`` (B, S) of a number.
        judged: what the loss is looked at with.
        samples_weight: of the mean distance of samples; the spectral body keeps no phases, and learns nothing by it.
        discriminators: None for distances alone.
    """
    mel = codec.config.body.mel if isinstance(codec.config.body, SpectralBody) else MelSpec()
    judges = Discriminators(discriminators) if discriminators else None
    network = CodecNetworks(codec, Distances(losses, mel, samples_weight), judges)
    own = [list(codec.parameters())]
    turns = [Turn(distance_loss, own, betas=BETAS)]
    if judges is not None:
        turns = [
            Turn(adversary_turn(losses, decoded), [list(judges.parameters())], "discriminators", betas=BETAS),
            Turn(generator_turn(losses, decoded), own, "codec", betas=BETAS),
        ]
    return Objective(network, turns, batch, mean_losses(distance_loss, judged), save=codec.save_pretrained)
