"""State spaces against their recurrences, their polynomials and their poles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import ConfigError
from speechkit.nn.sequence.convolution import long_convolution
from speechkit.nn.sequence.hippo import bilinear, diagonal, hippo
from speechkit.nn.sequence.lssl import LsslConfig
from speechkit.nn.sequence.s4d import S4DConfig
from speechkit.nn.sequence.stack import new_mixer


@settings(max_examples=10, deadline=None)
@given(length=st.integers(1, 40))
def test_a_long_convolution_is_the_sum_it_stands_for(length):
    x, kernel = torch.randn(2, 3, length, dtype=torch.float64), torch.randn(3, length, dtype=torch.float64)
    found = long_convolution(x, kernel)
    for item in range(2):
        for channel in range(3):
            wanted = np.convolve(x[item, channel].numpy(), kernel[channel].numpy())[:length]
            np.testing.assert_allclose(found[item, channel].numpy(), wanted, atol=1e-12)


def test_the_eigenvalues_of_legs_are_the_negative_whole_numbers():
    matrix, _ = hippo(8, "legs")
    assert torch.linalg.eigvals(matrix).real.sort().values.tolist() == pytest.approx(
        [float(-n) for n in range(8, 0, -1)]
    )


def test_the_state_of_legt_is_the_last_window_of_its_input():
    states, step = 32, 2e-3
    matrix, enters = bilinear(*hippo(states, "legt"), torch.tensor([step], dtype=torch.float64))
    times = torch.arange(0, 3, step, dtype=torch.float64)
    signal = torch.sin(3 * times) + 0.5 * torch.cos(7 * times)
    state = torch.zeros(states, dtype=torch.float64)
    for value in signal:
        state = matrix[0] @ state + enters[0] * value
    window = signal[-int(1 / step) :]
    places = np.linspace(-1, 1, len(window))  # from the oldest to the newest
    polynomials = np.stack([np.polynomial.legendre.Legendre.basis(n)(places) for n in range(states)])
    remembered = (state * (2 * torch.arange(states) + 1).sqrt()).numpy() @ polynomials
    assert np.abs(remembered - window.numpy()).max() < 0.03


def test_the_normal_part_of_legs_has_the_poles_of_its_diagonal_form():
    states = 8
    matrix, roots = hippo(states, "legs")
    wanted = torch.linalg.eigvals(matrix + roots[:, None] * roots[None] / 2)
    wanted = wanted[wanted.imag > 0]
    found = diagonal(states, "legs")
    assert sorted(found.imag.tolist()) == pytest.approx(sorted(wanted.imag.tolist()), abs=1e-9)
    assert found.real.tolist() == pytest.approx([-0.5] * 4)
    assert diagonal(states, "lin").imag.tolist() == pytest.approx([math.pi * n for n in range(4)])
    assert diagonal(states, "inv").imag.tolist() == pytest.approx(
        [8 / math.pi * (8 / (2 * n + 1) - 1) for n in range(4)]
    )


@torch.no_grad()
def test_the_kernel_of_s4d_is_the_sum_over_its_poles():
    torch.manual_seed(0)
    mixer = new_mixer(3, S4DConfig(states=4)).double()
    log_power, _, reads = mixer._discrete(torch.float64)
    impulse = torch.zeros(1, 9, 3, dtype=torch.float64)
    impulse[:, 0] = 1.0
    state, kernel = mixer.start(1, "cpu", torch.float64), []
    for position in range(9):
        _, state = mixer.step(impulse[:, position], state)
        kernel.append(2 * (torch.view_as_complex(state["poles"]) * reads).sum(-1).real[0])
    for position, found in enumerate(kernel):
        poles = log_power / mixer.log_step.exp()[:, None]
        wanted = 2 * (reads * (log_power.exp() - 1) / poles * (position * log_power).exp()).sum(-1).real
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("config", [S4DConfig(states=8, most_step=0.02), LsslConfig(states=6, most_step=0.02)])
def test_half_the_positions_at_twice_the_rate_give_nearly_the_same(config):
    torch.manual_seed(0)
    mixer = new_mixer(4, config).double()
    times = torch.arange(400, dtype=torch.float64)[None, :, None]
    x = torch.sin(times * torch.tensor([0.01, 0.02, 0.03, 0.015]))
    full = mixer(x)
    mixer.rate = 2.0
    half = mixer(x[:, 1::2])
    mixer.rate = 1.0
    unchanged = mixer(x[:, 1::2])
    assert (half - full[:, 1::2])[:, 50:].abs().max() < 0.05 * full.abs().max()
    assert (unchanged - full[:, 1::2])[:, 50:].abs().max() > 2 * (half - full[:, 1::2])[:, 50:].abs().max()


@torch.no_grad()
def test_a_step_follows_weights_that_have_changed():
    torch.manual_seed(0)
    mixer = new_mixer(4, LsslConfig(states=3))
    x, state = torch.randn(1, 4), mixer.start(1, "cpu", torch.float32)
    before, _ = mixer.step(x, state)
    mixer.log_step.add_(1.0)
    after, _ = mixer.step(x, state)
    torch.testing.assert_close(after, mixer(x[:, None])[:, 0])
    assert not torch.allclose(before, after)


@torch.no_grad()
def test_a_bfloat16_layer_keeps_its_state_in_float32():
    torch.manual_seed(0)
    mixer = new_mixer(4, S4DConfig(states=4)).bfloat16()
    x = torch.randn(1, 6, 4).bfloat16()
    out, state = mixer.prefill(x, mixer.start(1, "cpu", x.dtype))
    assert out.dtype == torch.bfloat16
    assert state["poles"].dtype == torch.float32
    assert state["poles"][0].numel() * 4 == mixer.state_bytes(6)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (S4DConfig(states=5), "even number"),
        (S4DConfig(least_step=0.1, most_step=0.01), "0 < least <= most"),
        (LsslConfig(states=0), "0 states"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        new_mixer(4, config)
