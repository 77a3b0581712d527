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


class CodecNetworks(nn.Module):
    """A codec, what measures spectra, and the discriminators where there are any."""

    def __init__(self, codec: ScalarCodec, spectra: Spectra, discriminators: Discriminators | None):
        super().__init__()
        self.codec, self.spectra, self.discriminators = codec, spectra, discriminators


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
        samples_weight: of the mean distance of samples. The spectral body has no phases to keep, and learns none by it.
        discriminators: None for spectra alone.
    """
    mel = codec.config.body.mel if isinstance(codec.config.body, SpectralBody) else MelSpec()
    network = CodecNetworks(codec, Spectra(losses, mel), Discriminators(discriminators) if discriminators else None)

    def decoded(network: Any, batch: Batch) -> Tensor:
        made: Tensor = network.codec(batch["waveforms"])
        return made

    def distance(network: Any, made: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        loss, values = network.spectra(made, batch["waveforms"])
        if samples_weight:
            samples = F.l1_loss(made, batch["waveforms"])
            loss, values = loss + samples_weight * samples, {**values, "samples": float(samples.detach())}
        return loss, values

    def loss(network: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        return distance(network, decoded(network, batch), batch)

    own = [list(codec.parameters())]
    turns = [Turn(loss, own, betas=BETAS)]
    if network.discriminators is not None:
        others = [list(network.discriminators.parameters())]
        turns = [
            Turn(adversary_turn(losses, decoded), others, "discriminators", betas=BETAS),
            Turn(generator_turn(losses, decoded, distance), own, "codec", betas=BETAS),
        ]
    return Objective(network, turns, batch, mean_losses(loss, judged), save=codec.save_pretrained)
