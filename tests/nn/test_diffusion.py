"""Claims about diffusion: schedules end in pure noise, oracles are found again, guidance of 1 changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechkit.errors import ConfigError
from speechkit.nn.diffusion import add_noise, denoise, guided_noise
from speechkit.nn.noise_schedule import SamplingSteps, ScheduleConfig, sampling_levels
from speechkit.nn.noise_schedule import signal_powers as powers_of

SCHEDULES = [
    ScheduleConfig("cosine"),
    ScheduleConfig("sigmoid"),
    ScheduleConfig("sigmoid", gamma=0.8, delta=1.0),
    ScheduleConfig("quadratic"),
    ScheduleConfig("quadratic", first=0.02, last=0.022),
]


def signal_powers(config):
    return torch.from_numpy(powers_of(config))


PLAIN = SamplingSteps(steps=10, guidance=1, rescale=0, initial_noise=1, noise_divisor=1)


def test_the_cosine_schedule_has_the_published_values():
    powers = signal_powers(ScheduleConfig("cosine", levels=100))
    expected = [0.99937, 0.84694, 0.49364, 0.14404, 0.00023, 0.0]
    assert powers[[0, 24, 49, 74, 98, 99]].tolist() == pytest.approx(expected, abs=6e-6)


@pytest.mark.parametrize("config", SCHEDULES, ids=str)
def test_every_schedule_falls_from_nearly_all_signal_to_none(config):
    powers = signal_powers(config)
    assert powers.dtype == torch.float64
    assert bool((powers.diff() < 0).all())
    assert 0.9 < powers[0] < 1
    assert powers[-1] == 0


def test_the_quadratic_schedule_is_the_slow_product_of_its_levels():
    config = ScheduleConfig("quadratic", levels=7, first=0.02, last=0.3)
    left, roots = 1.0, []
    for level in range(7):
        left *= 1 - (0.02**0.5 + level / 6 * (0.3**0.5 - 0.02**0.5)) ** 2
        roots.append(left**0.5)
    scaled = [((root - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2 for root in roots]
    assert signal_powers(config).tolist() == pytest.approx(scaled, abs=1e-12)


@given(st.integers(2, 300), st.data())
def test_steps_are_as_many_as_asked_for_and_as_even_as_can_be(levels, data):
    steps = data.draw(st.integers(1, levels))
    visited = sampling_levels(levels, steps)
    assert len(visited) == steps
    assert visited[0] == levels - 1
    gaps = -np.diff(visited)
    assert steps == 1 or (gaps.min() >= levels // steps and gaps.max() <= -(-levels // steps))


def test_forty_steps_of_a_hundred_levels_are_forty():
    assert len(sampling_levels(100, 40)) == 40
    with pytest.raises(ConfigError, match="give at most"):
        sampling_levels(10, 11)


@pytest.mark.parametrize("config", SCHEDULES, ids=str)
@pytest.mark.parametrize("steps", [1, 7, 40])
def test_an_oracle_is_found_again_from_any_noise(config, steps):
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 3, 5, dtype=torch.float64, generator=generator), torch.randn(2, 3, 5).double()
    found = denoise(lambda x, level: (x0, None), noise, signal_powers(config), SamplingSteps(steps=steps))
    assert torch.allclose(found, x0, atol=1e-12)


def posterior(x, level, powers, mode):
    """The mean of x0 given x_t where x0 is +mode or -mode alike."""
    alpha, variance = powers[level].sqrt(), 1 - powers[level]
    return mode * torch.tanh(alpha * (x * mode).sum(-1, keepdim=True) / variance)


def test_steps_by_the_exact_posterior_of_two_modes_end_in_them():
    powers, mode = signal_powers(ScheduleConfig()), torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    noise = torch.randn(400, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    config = SamplingSteps(steps=50, guidance=1, rescale=0, initial_noise=1, noise_divisor=1)
    found = denoise(lambda x, level: (posterior(x, level, powers, mode), None), noise, powers, config)
    sides = (found @ mode).sign()
    assert ((found - sides[:, None] * mode).norm(dim=-1) < 0.05).double().mean() > 0.95
    assert abs(float(sides.mean())) < 0.2


def test_guidance_of_one_without_rescaling_is_the_condition_alone():
    noise = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    powers = signal_powers(ScheduleConfig())
    conditional, other = torch.randn(4, 6).double(), torch.randn(4, 6).double()
    assert torch.allclose(guided_noise(conditional, other, 1.0, 0.0), conditional, atol=1e-14)

    def foresee(x, level):
        return torch.tanh(x + conditional), torch.tanh(x - other)

    alone = denoise(lambda x, level: (foresee(x, level)[0], None), noise, powers, PLAIN)
    assert torch.equal(denoise(foresee, noise, powers, PLAIN), alone)
    stronger = SamplingSteps(steps=10, guidance=3, rescale=0, initial_noise=1, noise_divisor=1)
    assert not torch.allclose(denoise(foresee, noise, powers, stronger), alone, atol=1e-3)


def test_guidance_moves_noise_and_the_foreseen_vector_alike():
    """Without rescaling, guided noise is that of x0_u + g (x0_c - x0_u)."""
    powers = signal_powers(ScheduleConfig())[40]
    alpha, sigma = powers.sqrt(), (1 - powers).sqrt()
    x, conditional, other = torch.randn(3, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    noise = guided_noise((x - alpha * conditional) / sigma, (x - alpha * other) / sigma, 2.5, 0.0)
    assert torch.allclose((x - sigma * noise) / alpha, other + 2.5 * (conditional - other), atol=1e-10)


def test_full_rescaling_gives_guided_noise_the_spread_of_the_conditional():
    conditional, other = torch.randn(2, 7, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    rescaled = guided_noise(conditional, other, 3.0, 1.0)
    assert torch.allclose(rescaled.std(-1), conditional.std(-1))


def test_noisy_vectors_keep_the_power_of_their_level():
    powers = signal_powers(ScheduleConfig())[[0, 30, 99]]
    x0, noise = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    noisy = add_noise(x0, noise, powers)
    for row, power in enumerate(powers.tolist()):
        assert torch.allclose(noisy[row], power**0.5 * x0[row] + (1 - power) ** 0.5 * noise[row])
    assert torch.equal(noisy[-1], noise[-1])
