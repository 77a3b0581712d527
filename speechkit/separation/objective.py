"""Separation loss: permutation-invariant SI-SDR or SNR, the level of silent tracks, and a spectral loss.

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

MAX_EXHAUSTIVE_TRACKS = 4
"""Up to this many tracks all permutations are compared; beyond, the Hungarian algorithm is used."""
SILENT_DB = -60.0
"""A source this far below its mixture counts as silent, since a ratio to it is meaningless."""
EPS = 1e-8


def pairwise_sdr(
    estimates: Tensor, sources: Tensor, lengths: Tensor, ratio: Ratio = "si-sdr", limit_db: float | None = None
) -> Tensor:
    """Signal-to-distortion ratio in decibels of each estimate to each source (B, K estimates, K sources).

    ``si-sdr`` is that of Le Roux et al. 2019 on zero-mean signals; ``snr`` is |s|² / |s - ŝ|², means included. With
    ``limit_db``, the distortion has a floor that far below the source, so that gradients vanish beyond it.

    Args:
        estimates: (B, K, S).
        sources: (B, K, S).
        lengths: of the mixtures (B,); samples beyond are ignored.
        ratio: which ratio.
        limit_db: soft upper bound.

    Source: Le Roux et al. 2019, SDR – half-baked or well done?; Wisdom et al. 2020, Unsupervised sound separation using
    mixture invariant training, equation 2 (the limit).
    """
    estimates, sources = _within(estimates, lengths), _within(sources, lengths)
    if ratio == "si-sdr":
        estimates, sources = _zero_mean(estimates, lengths), _zero_mean(sources, lengths)
    products = estimates @ sources.mT  # (B, K, K)
    power = estimates.square().sum(-1)[:, :, None]  # (B, K, 1)
    source_power = sources.square().sum(-1)[:, None, :]  # (B, 1, K)
    if ratio == "si-sdr":
        target = products.square() / (source_power + EPS)
        distortion = power - target
    else:
        target = source_power.expand_as(products)
        distortion = power - 2 * products + source_power
    floor = 0.0 if limit_db is None else 10 ** (-limit_db / 10)
    return 10 * torch.log10((target + EPS) / (distortion.clamp(min=0) + floor * target + EPS))


def best_orders(costs: Tensor) -> Tensor:
    """Permutation (B, K), the source of each estimate, with the smallest sum of costs (B, K estimates, K sources)."""
    tracks = costs.shape[1]
    if tracks > MAX_EXHAUSTIVE_TRACKS:
        from scipy.optimize import linear_sum_assignment

        assigned = [linear_sum_assignment(cost)[1] for cost in costs.detach().float().cpu().numpy()]
        return torch.from_numpy(np.array(assigned)).to(costs.device)
    orders = torch.tensor(list(permutations(range(tracks))), device=costs.device)  # (K!, K)
    sums = costs[:, torch.arange(tracks, device=costs.device), orders].sum(-1)  # (B, K!)
    return orders[sums.argmin(1)]


def separation_losses(
    estimates: Tensor, sources: Tensor, mixtures: Tensor, lengths: Tensor, config: SeparationLoss
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss per track (B, K) in negative dB under the best permutation, that permutation, and a mask of silent tracks.

    A silent source costs ``10 log10(|ŝ|² / |x|² + limit)``, with no gain beyond ``limit_db`` below x. x is the mixture,
    or the sum of the estimates' powers with SI-SDR, where the network could otherwise make all tracks quiet. All
    tracks, silent ones included, determine the permutation.

    Args:
        estimates: (B, K, S).
        sources: (B, K, S), zero for absent speakers.
        mixtures: (B, S).
        lengths: of the mixtures (B,).
        config: settings of the loss.

    Source: Wisdom et al. 2021, What's all the FUSS about free universal sound separation data?, equations 2 and 3.
    """
    mixture_power = _within(mixtures, lengths).square().sum(-1)[:, None] + EPS  # (B, 1)
    silent = _within(sources, lengths).square().sum(-1) < mixture_power * 10 ** (SILENT_DB / 10)  # (B, K)
    ratios = pairwise_sdr(estimates, sources, lengths, config.ratio, config.limit_db)
    power = _within(estimates, lengths).square().sum(-1)  # (B, K)
    reference_power = power.sum(1, keepdim=True) + EPS if config.ratio == "si-sdr" else mixture_power
    level_db = 10 * torch.log10(power / reference_power + 10 ** (-config.limit_db / 10))
    costs = torch.where(silent[:, None, :], config.silent_weight * level_db[:, :, None], -ratios)
    orders = best_orders(costs)
    return costs.gather(2, orders[:, :, None])[..., 0], orders, silent.gather(1, orders)


def spectral_difference(
    estimates: Tensor, sources: Tensor, mixtures: Tensor, lengths: Tensor, windows: Sequence[int]
) -> Tensor:
    """L1 distance of the STFT magnitudes of permuted estimates and sources (B, K, S), relative to the mixture's (B,).

    The mean over several window sizes, with a quarter of the window as hop. Samples beyond ``lengths`` are ignored.
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
    """The loss function of batches (mixtures (B, S), sources (B, K, S), lengths (B,)).

    It logs the mean ratio of tracks with speech in decibels, and the spectral distance.
    """

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        mixtures, sources, lengths = batch
        estimates = network(mixtures, lengths).to(sources.dtype)
        # bfloat16 cannot resolve ratios of 30 dB and more.
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
    """Signals (B, …, S), set to 0 beyond the lengths (B,)."""
    valid = length_mask(lengths, signals.shape[-1])  # (B, S)
    return torch.where(valid.reshape(len(lengths), *(1,) * (signals.dim() - 2), -1), signals, 0.0)


def _zero_mean(signals: Tensor, lengths: Tensor) -> Tensor:
    """Subtract the mean over the lengths; 0 beyond."""
    mean = signals.sum(-1, keepdim=True) / lengths.clamp(min=1)[:, None, None]
    return _within(signals - mean, lengths)


def _magnitudes(signals: Tensor, window: int) -> Tensor:
    """STFT magnitudes (…, F, M) of signals (…, S), including partial frames at the end."""
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
