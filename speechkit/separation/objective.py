"""What a separator minimises: the best order's signal-to-distortion ratio, silence where nobody speaks, and spectra.

Notation used for tensor shapes: B mixtures, K tracks, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.nn.masks import length_mask
from speechkit.separation.config import Ratio, SeparationLoss
from speechkit.training.objective import LossFunction

MOST_EXHAUSTIVE = 4
"""Tracks up to which all orders are compared; above, the Hungarian algorithm finds the best."""
SILENT_DB = -60.0
"""A source this far below its mixture is silent: no ratio to it means anything."""
EPS = 1e-8


def pairwise_sdr(
    estimates: Tensor, sources: Tensor, lengths: Tensor, ratio: Ratio = "si-sdr", limit_db: float | None = None
) -> Tensor:
    """Signal-to-distortion ratio in decibels of each estimate to each source (B, K estimates, K sources).

    ``si-sdr`` is that of Le Roux et al. 2019 of zero-mean signals; ``snr`` is |s|² / |s - ŝ|², means and all. With
    ``limit_db`` distortion is counted as at least that far below the source, so that gradients vanish beyond it.

    Args:
        estimates: (B, K, S).
        sources: (B, K, S).
        lengths: of the mixtures (B,); what is beyond them does not count.
        ratio: which.
        limit_db: soft upper bound.

    Source: Le Roux et al. 2019, SDR – half-baked or well done?; Wisdom et al. 2020, Unsupervised sound separation using
    mixture invariant training, equation 2 (the limit).
    """
    estimates, sources = _within(estimates, lengths), _within(sources, lengths)
    if ratio == "si-sdr":
        estimates, sources = _zero_mean(estimates, lengths), _zero_mean(sources, lengths)
    products = estimates @ sources.mT  # (B, K, K)
    power = estimates.square().sum(-1)[:, :, None]  # (B, K, 1)
    wanted = sources.square().sum(-1)[:, None, :]  # (B, 1, K)
    if ratio == "si-sdr":
        target = products.square() / (wanted + EPS)
        distortion = power - target
    else:
        target = wanted.expand_as(products)
        distortion = power - 2 * products + wanted
    least = 0.0 if limit_db is None else 10 ** (-limit_db / 10)
    return 10 * torch.log10((target + EPS) / (distortion.clamp(min=0) + least * target + EPS))


def best_orders(costs: Tensor) -> Tensor:
    """The source of each estimate (B, K) in the order whose costs (B, K estimates, K sources) have the least sum."""
    tracks = costs.shape[1]
    if tracks > MOST_EXHAUSTIVE:
        from scipy.optimize import linear_sum_assignment

        assigned = [linear_sum_assignment(cost)[1] for cost in costs.detach().float().cpu().numpy()]
        return torch.from_numpy(np.array(assigned)).to(costs.device)
    orders = torch.tensor(list(permutations(range(tracks))), device=costs.device)  # (K!, K)
    sums = costs[:, torch.arange(tracks, device=costs.device), orders].sum(-1)  # (B, K!)
    return orders[sums.argmin(1)]


def separation_losses(
    estimates: Tensor, sources: Tensor, mixtures: Tensor, lengths: Tensor, config: SeparationLoss
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of each track (B, K), negative decibels, in the best order; that order; and which tracks are silent.

    A silent source costs ``10 log10(|ŝ|² / |x|² + limit)``: nothing more is gained by a track ``limit_db`` below x,
    which is the mixture, or all estimates together where levels are free, since a separator could make all of them
    quiet there. Orders are chosen by all tracks, the silent ones too.

    Args:
        estimates: (B, K, S).
        sources: (B, K, S); those of absent speakers are zero.
        mixtures: (B, S).
        lengths: of the mixtures (B,).
        config: of the loss.

    Source: Wisdom et al. 2021, What's all the FUSS about free universal sound separation data?, equations 2 and 3.
    """
    mixture_power = _within(mixtures, lengths).square().sum(-1)[:, None] + EPS  # (B, 1)
    silent = _within(sources, lengths).square().sum(-1) < mixture_power * 10 ** (SILENT_DB / 10)  # (B, K)
    ratios = pairwise_sdr(estimates, sources, lengths, config.ratio, config.limit_db)
    power = _within(estimates, lengths).square().sum(-1)  # (B, K)
    heard = power.sum(1, keepdim=True) + EPS if config.ratio == "si-sdr" else mixture_power
    loudness = power / heard
    quiet = 10 * torch.log10(loudness + 10 ** (-config.limit_db / 10))
    costs = torch.where(silent[:, None, :], config.silent_weight * quiet[:, :, None], -ratios)
    orders = best_orders(costs)
    return costs.gather(2, orders[:, :, None])[..., 0], orders, silent.gather(1, orders)


def spectral_difference(
    estimates: Tensor, sources: Tensor, mixtures: Tensor, lengths: Tensor, windows: Sequence[int]
) -> Tensor:
    """Differences of the magnitudes of ordered estimates and sources (B, K, S), as a share of the mixture's (B,).

    The mean over short-time spectra of several windows, each with a quarter of it as hop. What is beyond ``lengths``
    does not count.
    """
    mixtures = _within(mixtures, lengths)
    pairs = torch.stack([_within(estimates, lengths), _within(sources, lengths)])  # (2, B, K, S)
    total = torch.zeros_like(mixtures[:, 0])
    for window in windows:
        of_estimates, of_sources = _magnitudes(pairs, window)  # (B, K, F, M)
        difference = (of_estimates - of_sources).abs().sum((1, 2, 3))
        total = total + difference / (_magnitudes(mixtures, window).sum((1, 2)) + EPS)
    return total / len(windows)


def separation_loss(config: SeparationLoss) -> LossFunction:
    """The loss for `speechkit.training` of batches (mixtures (B, S), sources (B, K, S), lengths (B,)).

    Logged are the mean ratio of the tracks with speech in decibels, and the spectral difference.
    """

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        mixtures, sources, lengths = batch
        estimates = network(mixtures, lengths).to(sources.dtype)
        # Ratios of 30 dB and more are beyond what bfloat16 can tell.
        with torch.autocast(sources.device.type, enabled=False):
            return compare(estimates, mixtures, sources, lengths)

    def compare(
        estimates: Tensor, mixtures: Tensor, sources: Tensor, lengths: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        losses, orders, silent = separation_losses(estimates, sources, mixtures, lengths, config)
        speaking = losses.detach()[~silent]
        values: dict[str, float] = {config.ratio: -float(speaking.mean()) if speaking.numel() else 0.0}
        total = losses.mean()
        if config.spectral_weight:
            ordered = sources.gather(1, orders[:, :, None].expand_as(sources))
            difference = spectral_difference(estimates, ordered, mixtures, lengths, config.windows).mean()
            values["spectral"] = float(difference.detach())
            total = total + config.spectral_weight * difference
        return total, values

    return loss


def _within(signals: Tensor, lengths: Tensor) -> Tensor:
    """Signals (B, …, S) in float32 or more, zero beyond the lengths (B,)."""
    valid = length_mask(lengths, signals.shape[-1])  # (B, S)
    return torch.where(valid.reshape(len(lengths), *(1,) * (signals.dim() - 2), -1), signals, 0.0)


def _zero_mean(signals: Tensor, lengths: Tensor) -> Tensor:
    """Without the mean over their lengths; zero beyond."""
    mean = signals.sum(-1, keepdim=True) / lengths.clamp(min=1)[:, None, None]
    return _within(signals - mean, lengths)


def _magnitudes(signals: Tensor, window: int) -> Tensor:
    """Magnitudes (…, F, M) of signals (…, S), with every frame that holds some of them."""
    flat = F.pad(signals.reshape(-1, signals.shape[-1]), (0, window))
    spectrum = torch.stft(
        flat,
        window,
        window // 4,
        window=torch.hann_window(window, dtype=flat.dtype, device=flat.device),
        pad_mode="constant",
        return_complex=True,
    )
    return spectrum.abs().reshape(*signals.shape[:-1], *spectrum.shape[-2:])
