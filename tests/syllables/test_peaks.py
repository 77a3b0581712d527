"""Segments between the peaks of the norm."""

import itertools

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import ConfigError, UserError
from speechkit.syllables import make_segmenter
from speechkit.syllables.peaks import PeakSegmenter, moving_average, split_runs

CURVES = st.lists(st.one_of(st.integers(-4, 4), st.floats(-3, 3)), max_size=60)


@settings(max_examples=50)
@given(CURVES.filter(len), st.sampled_from([1, 3, 5]))
def test_moving_average_goes_on_with_the_first_and_last_value(curve, width):
    values = np.array(curve, np.float64)
    last, half = len(values) - 1, width // 2
    wanted = [np.mean([values[min(max(n, 0), last)] for n in range(t - half, t + half + 1)]) for t in range(last + 1)]
    assert moving_average(values, width) == pytest.approx(wanted, abs=1e-9)


def test_segments_lie_between_the_peaks_of_the_norm():
    norms = 5 + np.cos(2 * np.pi * np.arange(60) / 15)
    features = (norms[:, None] * [0.6, 0.8]).astype(np.float32)
    assert make_segmenter("peaks").segment(features).tolist() == [[0, 15], [15, 30], [30, 45], [45, 60]]


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 200))
def test_segments_are_those_of_the_published_recipe_with_scipy(seed, length):
    features = np.random.default_rng(seed).standard_normal((length, 3)).cumsum(0).astype(np.float32)
    norms = np.linalg.norm(features.astype(np.float64), axis=1)
    curve = (norms - norms.mean()) / norms.std()
    curve = np.array([np.mean([curve[min(max(t + d, 0), length - 1)] for d in (-1, 0, 1)]) for t in range(length)])
    edges = [0, *scipy.signal.find_peaks(curve, prominence=0.45)[0], length]
    assert PeakSegmenter().segment(features).tolist() == [list(pair) for pair in itertools.pairwise(edges)]


def test_runs_are_cut_at_the_places_inside_them():
    runs = np.array([[2, 6], [9, 20]])
    assert split_runs(runs, np.array([1, 2, 4, 7, 9, 12, 20])).tolist() == [[2, 4], [4, 6], [9, 12], [12, 20]]


def test_constant_single_and_empty_frames():
    assert PeakSegmenter().segment(np.ones((30, 2), np.float32)).tolist() == [[0, 30]]
    assert PeakSegmenter().segment(np.ones((1, 2), np.float32)).tolist() == [[0, 1]]
    assert PeakSegmenter().segment(np.ones((0, 2), np.float32)).shape == (0, 2)


def test_values_that_are_not_finite_and_settings_out_of_range_are_refused():
    with pytest.raises(UserError, match="frame 0 "):
        PeakSegmenter().segment(np.full((3, 2), np.inf, np.float32))
    with pytest.raises(ConfigError, match="odd"):
        make_segmenter("peaks", smoothing=4)
    with pytest.raises(ConfigError, match="prominence"):
        make_segmenter("peaks", prominence=0)
