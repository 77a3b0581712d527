"""Training of separators with dynamic mixing, and its validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.augment.speakers import DynamicMixtures
from speechkit.data.audio import read_waveform
from speechkit.data.mixtures import read_sources
from speechkit.data.records import Utterance
from speechkit.io.arrays import Float
from speechkit.metrics.separation import score_separation
from speechkit.separation.config import SeparationLoss
from speechkit.separation.model import Separator
from speechkit.separation.objective import separation_loss
from speechkit.training import EarlyStopping, Objective, Turn

MEASURE = "dev_si_sdr_improvement"
"""Measure that selects the best weights, if validation has mixtures of several speakers."""


class ValidationMixture(NamedTuple):
    """A mixture (S,) and its sources (N, S)."""

    mixture: Float
    sources: Float


def read_validation(rows: Sequence[Utterance], manifest: Path, sample_rate: int) -> list[ValidationMixture]:
    """Read the mixtures of a manifest with their sources into memory.

    Raises:
        UserError: if a row names no sources.
        AudioError: if one cannot be read.
    """
    return [
        ValidationMixture(
            read_waveform(row, manifest, sample_rate=sample_rate), np.stack(read_sources(row, manifest, sample_rate))
        )
        for row in rows
    ]


def separation_training(
    network: Separator,
    mixtures: DynamicMixtures,
    config: SeparationLoss,
    validation: Sequence[ValidationMixture] = (),
) -> Objective:
    """Objective that trains a separator with dynamic mixing and keeps the weights that are best on ``validation``.

    Args:
        network: trained in place.
        mixtures: with the network's number of tracks and sample rate.
        config: settings of the loss.
        validation: mixtures to evaluate on.
    """

    def batch(number: int) -> tuple[Tensor, Tensor, Tensor]:
        drawn = mixtures[number]
        lengths = torch.full((len(drawn.mixtures),), drawn.mixtures.shape[1])
        return torch.from_numpy(drawn.mixtures), torch.from_numpy(drawn.sources), lengths

    several = any(len(item.sources) > 1 for item in validation)
    return Objective(
        network,
        [Turn(separation_loss(config), [list(network.parameters())])],
        batch,
        evaluate=(lambda model: validate(model, validation)) if validation else None,
        early_stopping=EarlyStopping(MEASURE, 0, higher_is_better=True) if several else None,
        save=network.save_pretrained,
        listen=(lambda model: sounds_of(model, validation[0], network.sample_rate)) if validation else None,
    )


def sounds_of(network: nn.Module, item: ValidationMixture, sample_rate: int) -> dict[str, tuple[Float, int]]:
    """A mixture and its tracks for listening, all with the mixture's peak."""
    device = next(network.parameters()).device
    estimates = network(torch.from_numpy(item.mixture)[None].to(device))[0].float().cpu().numpy()
    peak = float(np.abs(item.mixture).max())
    sounds = {"mixture": (item.mixture, sample_rate)}
    for number, estimate in enumerate(estimates, start=1):
        scale = np.float32(peak / max(float(np.abs(estimate).max()), 1e-8))
        sounds[f"track_{number}"] = (estimate * scale, sample_rate)
    return sounds


@torch.no_grad()
def validate(network: nn.Module, validation: Sequence[ValidationMixture]) -> dict[str, float]:
    """Means in decibels over mixtures.

    ``dev_si_sdr_improvement`` is that of mixtures of several speakers, ``dev_lone_si_sdr`` the SI-SDR of single
    speakers, and ``dev_empty_db`` the level of empty tracks relative to the mixture.
    """
    device = next(network.parameters()).device
    improvements: list[float] = []
    lone: list[float] = []
    empty: list[float] = []
    for mixture, sources in validation:
        estimates = network(torch.from_numpy(mixture)[None].to(device))[0].float().cpu().numpy()
        scores = score_separation(mixture, sources, estimates)
        empty += [score.leaked_db for score in scores if score.leaked_db is not None]
        if len(sources) == 1:
            lone += [score.si_sdr_db for score in scores if score.si_sdr_db is not None]
        else:
            improvements += [score.improvement_db for score in scores if score.improvement_db is not None]
    measures = {MEASURE: improvements, "dev_lone_si_sdr": lone, "dev_empty_db": empty}
    return {name: float(np.mean(values)) for name, values in measures.items() if values}
