"""The path of least cost with a penalty for every change, against all paths."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from speechkit.errors import ConfigError
from speechkit.units.smoothing import averaged, best_path, long_path


def cost_of(path: NDArray[np.int32], costs: NDArray[np.float32], switch_penalty: float | NDArray[np.float32]) -> float:
    units = costs.shape[1]
    penalties = np.where(np.eye(units), 0, np.broadcast_to(switch_penalty, (units, units)))
    return float(costs[np.arange(len(path)), path].sum(dtype=np.float64) + penalties[path[:-1], path[1:]].sum())


@settings(max_examples=60)
@given(st.integers(1, 7), st.integers(1, 3), st.floats(0, 3), st.integers(0, 10_000))
def test_no_path_costs_less(frames: int, units: int, switch_penalty: float, seed: int) -> None:
    costs = np.random.default_rng(seed).random((frames, units)).astype(np.float32)
    found = cost_of(best_path(costs, switch_penalty), costs, switch_penalty)
    least = min(
        cost_of(np.array(path, np.int32), costs, switch_penalty) for path in product(range(units), repeat=frames)
    )
    assert found == pytest.approx(least, abs=1e-5)


@settings(max_examples=60)
@given(st.integers(1, 7), st.integers(1, 3), st.floats(0, 3), st.integers(0, 10_000))
def test_no_path_costs_less_where_each_change_has_its_own_price(
    frames: int, units: int, dearest: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    costs = generator.random((frames, units)).astype(np.float32)
    penalties = (dearest * generator.random((units, units))).astype(np.float32)
    found = cost_of(best_path(costs, penalties), costs, penalties)
    least = min(cost_of(np.array(path, np.int32), costs, penalties) for path in product(range(units), repeat=frames))
    assert found == pytest.approx(least, abs=1e-5)


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 30), st.sampled_from([0.0, 0.25, 1.0]), st.integers(0, 10_000))
def test_a_table_of_one_penalty_equals_the_penalty(frames: int, units: int, switch_penalty: float, seed: int) -> None:
    costs = (np.random.default_rng(seed).integers(0, 8, (frames, units)) / 4).astype(np.float32)  # ties, and exact sums
    table = np.full((units, units), switch_penalty, np.float32)
    one, other = best_path(costs, switch_penalty), best_path(costs, table)
    assert cost_of(one, costs, switch_penalty) == cost_of(other, costs, switch_penalty)


def test_without_a_price_every_frame_takes_its_cheapest_unit() -> None:
    costs = np.random.default_rng(0).random((200, 9)).astype(np.float32)
    np.testing.assert_array_equal(best_path(costs, 0.0), costs.argmin(1))


def test_a_stray_frame_goes_and_a_real_change_stays() -> None:
    costs = np.ones((20, 3), np.float32)
    costs[:10, 0] = costs[10:, 1] = 0
    costs[4, 0], costs[4, 2] = 0.6, 0.1  # one frame that looks a little more like another unit
    assert best_path(costs, 0.5).tolist() == [0] * 10 + [1] * 10


def test_windows_give_the_path_of_the_whole_item() -> None:
    generator = np.random.default_rng(1)
    costs = generator.random((4000, 12)).astype(np.float32)
    costs[np.arange(4000), np.repeat(generator.integers(12, size=500), 8)] -= 0.5
    for switch_penalty in (0.4, generator.uniform(0.3, 0.5, (12, 12)).astype(np.float32)):
        windowed = long_path(lambda a, b: costs[a:b], len(costs), switch_penalty, window=300, lookahead=100)
        np.testing.assert_array_equal(windowed, best_path(costs, switch_penalty))


def test_an_item_of_no_frames_has_no_units() -> None:
    assert best_path(np.zeros((0, 4), np.float32), 1.0).shape == (0,)


@pytest.mark.parametrize("switch_penalty", [-0.1, float("nan"), np.array([[0, 1], [-1, 0]], np.float32)])
def test_a_penalty_below_zero_is_refused(switch_penalty: float | NDArray[np.float32]) -> None:
    with pytest.raises(ConfigError, match="penalty"):
        best_path(np.zeros((2, 2), np.float32), switch_penalty)


@given(st.integers(0, 12), st.sampled_from([1, 3, 7]))
def test_averaged_frames_are_means_of_their_neighbours(frames: int, wide: int) -> None:
    rows = np.random.default_rng(frames).standard_normal((frames, 3)).astype(np.float32)
    slow = [rows[max(0, t - wide // 2) : t + wide // 2 + 1].mean(0) for t in range(frames)]
    np.testing.assert_allclose(averaged(rows, wide), np.reshape(slow, (-1, 3)), atol=1e-5)


def test_a_mean_without_a_middle_is_refused() -> None:
    with pytest.raises(ConfigError, match="odd"):
        averaged(np.zeros((4, 2), np.float32), 2)
