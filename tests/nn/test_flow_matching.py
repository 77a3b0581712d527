"""Claims about flow matching, checked on Gaussians, whose velocity and flow are known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechkit.nn.flow_matching import guided, item_noise, on_path, solve, time_grid, velocity_loss, velocity_to

MEAN, SPREAD = 2.0, 0.3


def gaussian_velocity(point, time):
    """From N(0, 1) to N(MEAN, SPREAD²) along straight paths: mean tm, variance (1 - t)² + t² s² at time t."""
    t = time.view(-1, 1, 1)
    variance = (1 - t) ** 2 + t**2 * SPREAD**2
    return MEAN + (t * SPREAD**2 - (1 - t)) / variance * (point - t * MEAN)


def test_the_flow_of_a_gaussian_is_a_shift_and_a_scale():
    noise = torch.randn(2, 5, 3, dtype=torch.float64)
    data = solve(gaussian_velocity, noise, 400, "midpoint")
    torch.testing.assert_close(data, MEAN + SPREAD * noise, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2)])
@pytest.mark.parametrize("sway", [0.0, -1.0])
def test_the_error_falls_at_least_with_the_order_of_the_solver(solver, order, sway):
    noise = torch.randn(1, 64, 2, dtype=torch.float64)
    errors = [
        float((solve(gaussian_velocity, noise, steps, solver, sway) - (MEAN + SPREAD * noise)).abs().max())
        for steps in (64, 128)
    ]
    assert math.log2(errors[0] / errors[1]) > order - 0.2


def test_the_true_velocity_has_the_least_loss():
    torch.manual_seed(0)
    noise = torch.randn(4000, 1, 1)
    data = MEAN + SPREAD * torch.randn(4000, 1, 1)
    lengths = torch.ones(4000, dtype=torch.long)
    time = torch.rand(4000)
    best = velocity_loss(gaussian_velocity, data, lengths, noise, time)
    for shift in (-0.2, 0.2):
        other = velocity_loss(lambda x, t, shift=shift: gaussian_velocity(x, t) + shift, data, lengths, noise, time)
        assert float(other - best) == pytest.approx(shift**2, abs=0.02)
    # What is left is the variance of data - noise around its mean given the point.
    variance = (1 - time) ** 2 + time**2 * SPREAD**2
    left = 1 + SPREAD**2 - (time * SPREAD**2 - (1 - time)) ** 2 / variance
    assert float(best) == pytest.approx(float(left.mean()), rel=0.05)


def test_what_lies_behind_an_end_has_no_part_in_the_loss():
    data, noise, time = torch.randn(2, 6, 3), torch.randn(2, 6, 3), torch.tensor([0.2, 0.7])
    lengths = torch.tensor([6, 4])
    loss = velocity_loss(lambda x, t: 2 * x, data, lengths, noise, time)
    squares = (2 * on_path(noise, data, time) - (data - noise)).square().mean(-1)
    torch.testing.assert_close(loss, torch.cat([squares[0], squares[1, :4]]).mean())
    data[1, 4:] = math.nan
    torch.testing.assert_close(velocity_loss(lambda x, t: 2 * x, data, lengths, noise, time), loss)


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_predicted_data_is_reached_whatever_the_noise(steps):
    data = torch.randn(2, 5, 3, dtype=torch.float64)
    reached = solve(lambda x, t: velocity_to(data, x, t), torch.randn_like(data), steps, sway=-1.0)
    torch.testing.assert_close(reached, data)


def test_the_velocity_to_the_data_is_that_of_the_path_and_bounded_at_its_end():
    data, noise = torch.randn(3, 4, 2), torch.randn(3, 4, 2)
    time = torch.tensor([0.0, 0.5, 1.0])
    velocity = velocity_to(data, on_path(noise, data, time), time)
    torch.testing.assert_close(velocity[:2], (data - noise)[:2])
    assert not velocity[2].any()
    off = velocity_to(data + 1, on_path(noise, data, time), time)
    torch.testing.assert_close(off[2], torch.full((4, 2), 10.0))


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 9)), min_size=1, max_size=4))
def test_an_item_has_the_same_noise_in_every_batch(items):
    seeds, lengths = zip(*items, strict=True)
    batch = item_noise(seeds, lengths, 3)
    for row, seed, length in zip(batch, seeds, lengths, strict=True):
        assert torch.equal(row[:length], item_noise([seed], [length], 3)[0])
        assert not row[length:].any()


@given(st.integers(1, 64), st.floats(-1.0, 1.75))
def test_time_runs_from_noise_to_data_and_never_back(steps, sway):
    times = time_grid(steps, sway)
    assert len(times) == steps + 1
    assert times[0] == 0
    assert times[-1] == pytest.approx(1)
    assert (times.diff() >= -1e-6).all()


def test_sway_below_zero_spends_its_steps_near_the_noise():
    assert float(time_grid(2, -1.0)[1]) == pytest.approx(1 - math.cos(math.pi / 4))


@pytest.mark.parametrize(("steps", "sway"), [(0, 0.0), (4, -1.5), (4, 2.0)])
def test_an_impossible_grid_is_refused(steps, sway):
    with pytest.raises(ValueError, match="give"):
        time_grid(steps, sway)


def test_guidance_goes_beyond_the_condition():
    def never(point, time):
        raise AssertionError("asked for without need")

    point, time = torch.ones(1, 2, 1), torch.zeros(1)
    velocity = guided(lambda x, t: 3 * x, lambda x, t: x, 2.0)
    assert torch.equal(velocity(point, time), 7 * point)
    assert torch.equal(guided(lambda x, t: 3 * x, never, 0.0)(point, time), 3 * point)
