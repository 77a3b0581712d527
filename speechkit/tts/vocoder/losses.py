"""Losses of vocoders: distances of spectra, and what adversaries and generator owe one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.nn.mel import MelSpectrogram
from speechkit.nn.mel_spec import MelSpec
from speechkit.tts.vocoder.discriminators import Judgement, magnitudes

Kind = Literal["hinge", "least-squares"]


class MelDistance(nn.Module):
    """Mean absolute distance of log-mel frames of waveforms (B, S)."""

    def __init__(self, spec: MelSpec):
        super().__init__()
        self.mel = MelSpectrogram(spec)

    def forward(self, made: Tensor, recorded: Tensor) -> Tensor:
        """A number; gradients flow to ``made``."""
        return F.l1_loss(self.mel(made), self.mel(recorded))


class StftDistance(nn.Module):
    """Spectral convergence and mean distance of log magnitudes, meaned over resolutions.

    Source: Yamamoto et al. 2020, "Parallel WaveGAN", section 2.2.
    """

    def __init__(self, resolutions: Sequence[int]):
        super().__init__()
        self._names = []
        for size in resolutions:
            self._names.append(f"window_{size}")
            self.register_buffer(self._names[-1], torch.hann_window(size), persistent=False)

    def forward(self, made: Tensor, recorded: Tensor) -> Tensor:
        """A number for waveforms (B, S)."""
        total = made.new_zeros(())
        for name in self._names:
            window = getattr(self, name)
            ours, theirs = magnitudes(made, window), magnitudes(recorded, window)
            difference = torch.linalg.vector_norm(theirs - ours, dim=(1, 2))
            convergence = difference / torch.linalg.vector_norm(theirs, dim=(1, 2)).clamp_min(1e-3)
            total = total + convergence.clamp_max(10.0).mean() + F.l1_loss(ours.log(), theirs.log())
        return total / len(self._names)


def discriminator_loss(recorded: Sequence[Judgement], made: Sequence[Judgement], kind: Kind) -> Tensor:
    """Mean over discriminators of what those lose that take one for the other."""
    losses = []
    for real, fake in zip(recorded, made, strict=True):
        if kind == "hinge":
            losses.append(F.relu(1.0 - real.scores).mean() + F.relu(1.0 + fake.scores).mean())
        else:
            losses.append((1.0 - real.scores).square().mean() + fake.scores.square().mean())
    return torch.stack(losses).mean()


def generator_loss(made: Sequence[Judgement], kind: Kind) -> Tensor:
    """Mean over discriminators of what a generator loses that is found out."""
    if kind == "hinge":
        return torch.stack([F.relu(1.0 - fake.scores).mean() for fake in made]).mean()
    return torch.stack([(1.0 - fake.scores).square().mean() for fake in made]).mean()


def feature_loss(recorded: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """Mean absolute distance of the features of all layers of all discriminators."""
    return torch.stack(
        [
            F.l1_loss(fake, real.detach())
            for one, other in zip(made, recorded, strict=True)
            for fake, real in zip(one.features, other.features, strict=True)
        ]
    ).mean()
