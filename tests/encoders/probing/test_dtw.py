"""Claims about warping: the compiled sweep is the recursion, and no frame is lost."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.encoders.probing.dtw import angular_distances, distance_matrix, dtw_distance, unit_frames
from speechkit.errors import UserError


def obvious(costs):
    """Cheapest sum and the steps of its path, by the definition."""

    @cache
    def best(i, j):
        if i == j == 0:
            return costs[0, 0], 1
        ways = []
        for place, (di, dj) in enumerate(((1, 1), (1, 0), (0, 1))):
            if i >= di and j >= dj:
                total, steps = best(i - di, j - dj)
                ways.append((total, place, steps))
        total, _, steps = min(ways)
        return total + costs[i, j], steps + 1

    total, steps = best(costs.shape[0] - 1, costs.shape[1] - 1)
    return total / steps


@settings(max_examples=80)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 4), st.integers(0, 10**6), st.booleans())
def test_the_kernel_is_the_recursion_of_the_definition(n, m, dim, seed, coarse):
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(n, dim)).astype(np.float32), generator.normal(size=(m, dim)).astype(np.float32)
    if coarse:  # many equally cheap paths
        a, b = np.sign(a), np.sign(b)
    costs = angular_distances(unit_frames(a), unit_frames(b)).astype(np.float64)
    assert dtw_distance(a, b) == pytest.approx(obvious(costs), abs=1e-6)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=6), st.integers(0, 10**6))
def test_the_matrix_holds_the_distance_of_every_pair(lengths, seed):
    generator = np.random.default_rng(seed)
    segments = [generator.normal(size=(n, 3)).astype(np.float32) for n in lengths]
    matrix = distance_matrix(segments)
    assert np.array_equal(matrix, matrix.T)
    for i in range(len(segments)):
        for j in range(i + 1, len(segments)):
            assert matrix[i, j] == pytest.approx(dtw_distance(segments[i], segments[j]), abs=1e-5)


def test_the_angle_counts_and_not_the_length():
    a = np.array([[1.0, 0.0]])
    assert dtw_distance(a, 7 * a) == pytest.approx(0, abs=1e-4)
    assert dtw_distance(a, np.array([[0.0, 2.0]])) == pytest.approx(0.5)
    assert dtw_distance(a, -a) == pytest.approx(1.0)


def test_the_last_frame_counts():
    a = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    b = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, -1.0]])
    assert dtw_distance(a, b) > dtw_distance(a[:2], b[:2]) + 0.1


def test_a_zero_frame_is_at_right_angles_to_all():
    assert dtw_distance(np.zeros((1, 2)), np.array([[1.0, 0.0]])) == pytest.approx(0.5)


def test_broken_segments_are_refused():
    with pytest.raises(UserError, match="at least one frame"):
        dtw_distance(np.zeros((0, 3)), np.ones((2, 3)))
    with pytest.raises(UserError, match="NaN"):
        distance_matrix([np.full((1, 2), np.nan), np.ones((1, 2))])
