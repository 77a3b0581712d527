"""How a separator learns from mixtures that are drawn anew for every step, and how training is looked at."""

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
"""By which the best weights are kept, where there are mixtures of several speakers to look at."""


class Judged(NamedTuple):
    """A mixture (S,) and the sources (N, S) of those who speak in it."""

    mixture: Float
    sources: Float


def read_judged(rows: Sequence[Utterance], manifest: Path, sample_rate: int) -> list[Judged]:
    """The mixtures of a manifest with their sources, in memory.

    Raises:
        UserError: if a row names no sources.
        AudioError: if one cannot be read.
    """
    return [
        Judged(
            read_waveform(row, manifest, sample_rate=sample_rate), np.stack(read_sources(row, manifest, sample_rate))
        )
        for row in rows
    ]


def separation_training(
    network: Separator, mixtures: DynamicMixtures, config: SeparationLoss, judged: Sequence[Judged] = ()
) -> Objective:
    """A separator learning from drawn mixtures; the weights that improve the judged ones most are kept.

    Args:
        network: changed in place.
        mixtures: of as many tracks and of the sample rate that the network has.
        config: of the loss.
        judged: to look how training goes.
    """

    def batch(number: int) -> tuple[Tensor, Tensor, Tensor]:
        drawn = mixtures[number]
        lengths = torch.full((len(drawn.mixtures),), drawn.mixtures.shape[1])
        return torch.from_numpy(drawn.mixtures), torch.from_numpy(drawn.sources), lengths

    several = any(len(one.sources) > 1 for one in judged)
    return Objective(
        network,
        [Turn(separation_loss(config), [list(network.parameters())])],
        batch,
        evaluate=(lambda model: judge(model, judged)) if judged else None,
        early_stopping=EarlyStopping(MEASURE, 0, higher_is_better=True) if several else None,
        save=network.save_pretrained,
        listen=(lambda model: tracks_of(model, judged[0], network.sample_rate)) if judged else None,
    )


def tracks_of(network: nn.Module, one: Judged, sample_rate: int) -> dict[str, tuple[Float, int]]:
    """A mixture and its tracks to be heard, each as loud as the mixture at its peak."""
    device = next(network.parameters()).device
    estimates = network(torch.from_numpy(one.mixture)[None].to(device))[0].float().cpu().numpy()
    peak = float(np.abs(one.mixture).max())
    sounds = {"mixture": (one.mixture, sample_rate)}
    for number, estimate in enumerate(estimates, start=1):
        scale = np.float32(peak / max(float(np.abs(estimate).max()), 1e-8))
        sounds[f"track_{number}"] = (estimate * scale, sample_rate)
    return sounds


@torch.no_grad()
def judge(network: nn.Module, judged: Sequence[Judged]) -> dict[str, float]:
    """Means in decibels over mixtures, each alone: how much better sources became, and how quiet empty tracks are.

    ``dev_si_sdr_improvement`` is that of mixtures of several speakers, ``dev_lone_si_sdr`` the ratio of lone speakers'
    tracks, and ``dev_empty_db`` the level of the other tracks against the mixture.
    """
    device = next(network.parameters()).device
    improvements: list[float] = []
    lone: list[float] = []
    empty: list[float] = []
    for mixture, sources in judged:
        estimates = network(torch.from_numpy(mixture)[None].to(device))[0].float().cpu().numpy()
        scores = score_separation(mixture, sources, estimates)
        empty += [score.leaked_db for score in scores if score.leaked_db is not None]
        if len(sources) == 1:
            lone += [score.si_sdr_db for score in scores if score.si_sdr_db is not None]
        else:
            improvements += [score.improvement_db for score in scores if score.improvement_db is not None]
    measures = {MEASURE: improvements, "dev_lone_si_sdr": lone, "dev_empty_db": empty}
    return {name: float(np.mean(values)) for name, values in measures.items() if values}
