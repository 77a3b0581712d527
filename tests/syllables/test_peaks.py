"""Segments between the peaks of the norm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import ConfigError, UserError
from speechkit.syllables import make_segmenter
from speechkit.syllables.peaks import PeakSegmenter, cut_at, smoothed

CURVES = st.lists(st.one_of(st.integers(-4, 4), st.floats(-3, 3)), max_size=60)


@settings(max_examples=50)
@given(CURVES.filter(len), st.sampled_from([1, 3, 5]))
def test_moving_average_takes_what_is_there(curve, width):
    values = np.array(curve, np.float64)
    half = width // 2
    wanted = [values[max(0, t - half) : t + half + 1].mean() for t in range(len(values))]
    assert smoothed(values, width) == pytest.approx(wanted, abs=1e-9)


def test_segments_lie_between_the_peaks_of_the_norm():
    norms = 5 + np.cos(2 * np.pi * np.arange(60) / 15)
    features = (norms[:, None] * [0.6, 0.8]).astype(np.float32)
    assert make_segmenter("peaks").segment(features).tolist() == [[0, 15], [15, 30], [30, 45], [45, 60]]
    valleys = PeakSegmenter(valleys=True).segment(features)
    assert np.isin(valleys[1:, 0] % 15, [7, 8]).all()
    assert len(valleys) == 5


def test_silence_is_cut_out_where_a_norm_is_given():
    runs = np.array([[2, 6], [9, 20]])
    assert cut_at(runs, np.array([1, 2, 4, 7, 9, 12, 20])).tolist() == [[2, 4], [4, 6], [9, 12], [12, 20]]
    features = np.concatenate([np.full((10, 2), 0.01), np.ones((10, 2))]).astype(np.float32)
    assert PeakSegmenter(norm=0.5).segment(features).tolist() == [[10, 20]]


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
