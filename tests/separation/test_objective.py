"""The separator's loss, against plain NumPy and the measure that judges."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import ConfigError
from speechkit.metrics.separation import si_sdr_matrix
from speechkit.separation.config import SeparationLoss
from speechkit.separation.objective import (
    best_orders,
    pairwise_sdr,
    separation_loss,
    separation_losses,
    spectral_difference,
)

SAMPLES = 800


def batch(seed: int, tracks: int = 2, size: int = 3, samples: int = SAMPLES):
    """Sources, and estimates that are them in another order with distortion and offset: (B, K, S) each."""
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randn(size, tracks, samples, generator=generator, dtype=torch.float64)
    order = torch.randperm(tracks, generator=generator)
    noise = torch.randn(size, tracks, samples, generator=generator, dtype=torch.float64)
    return sources, 0.3 * sources[:, order] + 0.1 * noise + 0.05, torch.full((size,), samples)


@given(seed=st.integers(0, 1000), tracks=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_the_ratio_is_the_one_that_judges(seed, tracks):
    sources, estimates, lengths = batch(seed, tracks)
    ours = pairwise_sdr(estimates, sources, lengths)
    for item in range(len(sources)):
        expected = si_sdr_matrix(sources[item].numpy(), estimates[item].numpy()).T
        # Where almost nothing is right, what keeps divisions finite is felt.
        np.testing.assert_allclose(np.maximum(ours[item].numpy(), -40), np.maximum(expected, -40), atol=1e-4)


def test_the_plain_ratio_asks_for_the_level():
    sources, _, lengths = batch(0)
    ratios = pairwise_sdr(0.9 * sources, sources, lengths, "snr")
    np.testing.assert_allclose(ratios.diagonal(dim1=1, dim2=2).numpy(), 20.0, atol=1e-6)


@pytest.mark.parametrize("ratio", ["si-sdr", "snr"])
def test_beyond_the_limit_nothing_is_gained(ratio):
    sources, _, lengths = batch(1, 1)
    noise = torch.randn(sources.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    gradients = []
    for level in (1e-1, 1e-5):
        estimates = (sources + level * noise).requires_grad_()
        value = pairwise_sdr(estimates, sources, lengths, ratio, limit_db=30.0)
        assert value.max() <= 30.0
        value.sum().backward()
        gradients.append(float(estimates.grad.norm()))
    assert gradients[1] < 1e-2 * gradients[0]


@given(seed=st.integers(0, 1000), tracks=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_the_best_order_is_that_of_all(seed, tracks):
    costs = torch.randn(2, tracks, tracks, generator=torch.Generator().manual_seed(seed))
    found = best_orders(costs)
    for item in range(2):
        least = min(sum(float(costs[item, i, j]) for i, j in enumerate(order)) for order in permutations(range(tracks)))
        assert sorted(found[item].tolist()) == list(range(tracks))
        assert sum(float(costs[item, i, j]) for i, j in enumerate(found[item].tolist())) == pytest.approx(
            least, abs=1e-5
        )


@pytest.mark.parametrize("config", [SeparationLoss("snr"), SeparationLoss("si-sdr", spectral_weight=0.5)])
def test_padding_changes_no_loss(config):
    loss = separation_loss(config)
    items = [batch(seed, 2, 1, samples) for seed, samples in enumerate((800, 512, 661))]
    alone = [
        loss(lambda mixtures, lengths, kept=estimates: kept, (sources.sum(1), sources, lengths))[0]
        for sources, estimates, lengths in items
    ]
    longest = max(sources.shape[-1] for sources, _, _ in items)

    def padded(signals):
        filled = torch.full((len(signals), *signals[0].shape[1:-1], longest), 7.0, dtype=torch.float64)
        for row, signal in zip(filled, signals, strict=True):
            row[..., : signal.shape[-1]] = signal[0]
        return filled

    sources, estimates = padded([item[0] for item in items]), padded([item[1] for item in items])
    lengths = torch.cat([item[2] for item in items])
    together, _ = loss(lambda mixtures, lengths: estimates, (padded([i[0].sum(1) for i in items]), sources, lengths))
    assert float(together) == pytest.approx(float(torch.stack(alone).mean()), abs=1e-5)


@pytest.mark.parametrize("tracks", [2, 3, 5])
def test_the_order_of_tracks_changes_no_loss(tracks):
    sources, estimates, lengths = batch(3, tracks)
    losses = [
        separation_losses(estimates[:, list(order)], sources, sources.sum(1), lengths, SeparationLoss())[0].mean(1)
        for order in (range(tracks), reversed(range(tracks)))
    ]
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize("ratio", ["si-sdr", "snr"])
def test_a_lone_speaker_is_to_stay_one_track(ratio):
    generator = torch.Generator().manual_seed(0)
    speech, hiss = torch.randn(2, 1, SAMPLES, generator=generator)
    sources = torch.stack([speech, torch.zeros_like(speech)], 1)
    lengths = torch.tensor([SAMPLES])

    def loss(first: torch.Tensor, second: torch.Tensor):
        losses, orders, silent = separation_losses(
            torch.stack([first, second], 1), sources, speech, lengths, SeparationLoss(ratio)
        )
        return float(losses.mean()), orders[0].tolist(), silent[0].tolist()

    whole, order, silent = loss(speech, 0 * speech)
    assert (order, silent) == ([0, 1], [False, True])
    assert whole == pytest.approx(-30.0, abs=0.01)
    swapped, order, silent = loss(0 * speech, speech)
    assert (order, silent) == ([1, 0], [True, False])
    assert swapped == pytest.approx(whole)
    halves = loss((speech + hiss) / 2, (speech - hiss) / 2)[0]
    assert whole + 10 < loss(speech + hiss / 10, (speech - hiss) / 10)[0] < halves


def test_making_all_tracks_quiet_makes_none_silent():
    speech = torch.randn(1, SAMPLES, generator=torch.Generator().manual_seed(0))
    sources = torch.stack([speech, torch.zeros_like(speech)], 1)
    for scale in (1.0, 1e-2):
        losses, _, _ = separation_losses(
            scale * torch.stack([speech, speech], 1), sources, speech, torch.tensor([SAMPLES]), SeparationLoss("si-sdr")
        )
        assert float(losses[0, 1]) == pytest.approx(-3.0, abs=0.05)


def test_silence_has_a_finite_loss_and_gradient():
    config = SeparationLoss(spectral_weight=1.0)
    for sources in (torch.zeros(1, 2, SAMPLES), torch.tensor([1.0, 0.0])[None, :, None] * torch.ones(1, 2, SAMPLES)):
        estimates = torch.zeros(1, 2, SAMPLES, requires_grad=True)
        value, values = separation_loss(config)(
            lambda *_, kept=estimates: kept, (sources.sum(1), sources, torch.tensor([SAMPLES]))
        )
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(estimates.grad).all()
        assert all(np.isfinite(list(values.values())))


@given(seed=st.integers(0, 100), window=st.sampled_from([64, 256]))
@settings(max_examples=10, deadline=None)
def test_the_spectral_difference_is_that_of_plain_spectra(seed, window):
    sources, estimates, lengths = batch(seed)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)

    def magnitudes(signal):
        padded = np.pad(signal, (window // 2, window // 2 + window))
        begins = range(0, len(padded) - window + 1, window // 4)
        return np.abs(np.fft.rfft([padded[begin : begin + window] * hann for begin in begins]))

    mixtures = sources.sum(1)
    ours = spectral_difference(estimates, sources, mixtures, lengths, [window])
    for item in range(len(sources)):
        difference = sum(
            np.abs(magnitudes(estimate) - magnitudes(source)).sum()
            for estimate, source in zip(estimates[item].numpy(), sources[item].numpy(), strict=True)
        )
        assert float(ours[item]) == pytest.approx(difference / magnitudes(mixtures[item].numpy()).sum(), rel=1e-6)


def test_what_is_logged_is_the_ratio_of_the_speaking_tracks():
    sources, _, lengths = batch(2)
    sources[0, 1] = 0
    estimates = 0.9 * sources
    _, values = separation_loss(SeparationLoss("snr", limit_db=60.0))(
        lambda *_: estimates, (sources.sum(1), sources, lengths)
    )
    assert values["snr"] == pytest.approx(20.0, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "message"), [({"limit_db": 0.0}, "above 0"), ({"windows": (100,)}, "powers of two")]
)
def test_impossible_settings_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        SeparationLoss(**changes)
