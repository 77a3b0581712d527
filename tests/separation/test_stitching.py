"""Windows become tracks that keep their speakers, at the level of the mixture."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.separation.stitching import Stitcher, best_order, fit_levels, overlap_order


def cut(total, window, overlap):
    """Begins of overlapping windows, the last at the end."""
    hop = window - overlap
    begins = list(range(0, max(1, total - window + 1), hop))
    if begins[-1] + window < total:
        begins.append(total - window)
    return begins


@settings(max_examples=60)
@given(st.integers(1, 3), st.integers(40, 400), st.integers(8, 40), st.integers(0, 10_000))
def test_permuted_windows_of_known_sources_become_the_sources(count, total, half, seed):
    generator = np.random.default_rng(seed)
    window, overlap = 2 * half, half - half % 4 or 4
    sources = generator.standard_normal((count, max(total, window))).astype(np.float32)
    stitcher, parts = Stitcher(count, overlap), []
    first = None
    for begin in cut(sources.shape[1], window, overlap):
        order = generator.permutation(count)
        first = order if first is None else first
        parts.append(stitcher.add(begin, sources[order, begin : begin + window]))
    tracks = np.concatenate([*parts, stitcher.finish()], axis=1)
    np.testing.assert_allclose(tracks, sources[first], atol=1e-5)


def test_a_fade_goes_from_one_window_to_the_next_inside_their_overlap():
    stitcher = Stitcher(1, 8)
    parts = [stitcher.add(0, np.ones((1, 32), np.float32)), stitcher.add(24, np.full((1, 32), 2.0, np.float32))]
    track = np.concatenate([*parts, stitcher.finish()], axis=1)[0]
    assert len(track) == 56
    np.testing.assert_array_equal(track[:26], 1)
    np.testing.assert_allclose(track[26:30], [1.125, 1.375, 1.625, 1.875])
    np.testing.assert_array_equal(track[30:], 2)


@given(st.integers(2, 4), st.integers(0, 1000))
def test_the_best_order_is_that_of_an_exhaustive_search_and_its_gap_the_distance_to_the_next(count, seed):
    scores = np.random.default_rng(seed).standard_normal((count, count))
    sums = sorted((sum(scores[i, p] for i, p in enumerate(order)), order) for order in permutations(range(count)))
    fit = best_order(scores)
    assert fit.order == sums[-1][1]
    assert fit.gap == pytest.approx(sums[-1][0] - sums[-2][0])


def test_an_empty_track_decides_nothing_and_one_voice_in_the_overlap_is_enough():
    generator = np.random.default_rng(0)
    voice, hum = generator.standard_normal(400), 1e-3 * generator.standard_normal((2, 400))
    before = np.stack([voice, hum[0]]).astype(np.float32)
    after = np.stack([hum[1], voice]).astype(np.float32)
    fit = overlap_order(before, after)
    assert fit.order == (1, 0)
    assert fit.gap > 0.9


def test_levels_and_signs_are_those_of_the_mixture():
    generator = np.random.default_rng(1)
    sources = generator.standard_normal((3, 5000)).astype(np.float32) * np.array([[0.3], [0.05], [0.1]], np.float32)
    fitted = fit_levels(sources.sum(0), sources * np.array([[-4.0], [-20.0], [-1.0]], np.float32))
    np.testing.assert_allclose(fitted, sources, atol=2e-3)


def test_two_equal_estimates_get_half_of_the_mixture_each():
    voice = np.random.default_rng(2).standard_normal(1000).astype(np.float32)
    fitted = fit_levels(voice, np.stack([voice, voice]))
    np.testing.assert_allclose(fitted, np.stack([voice, voice]) / 2, atol=1e-3)


@pytest.mark.parametrize("leak", [0.0, 1e-4, 0.01, 0.1])
def test_a_faint_copy_of_a_lone_speaker_stays_faint(leak):
    generator = np.random.default_rng(3)
    voice = generator.standard_normal(4000).astype(np.float32)
    found = 0.9 * voice + 0.1 * generator.standard_normal(4000).astype(np.float32)
    fitted = fit_levels(voice, np.stack([found, leak * voice]))
    assert np.abs(fitted[1]).max() <= 1.5 * leak * np.abs(voice).max() + 1e-6


def test_what_is_left_of_the_mixture_goes_to_those_who_speak_there():
    generator = np.random.default_rng(4)
    voice = generator.standard_normal((2, 4000)).astype(np.float32)
    voice[0, 2000:], voice[1, :2000] = 0, 0
    fitted = fit_levels(voice.sum(0), 0.7 * voice, smooth=20)
    np.testing.assert_allclose(fitted[:, 10:1990], voice[:, 10:1990], atol=1e-3)
    np.testing.assert_allclose(fitted[:, 2010:], voice[:, 2010:], atol=1e-3)


@given(st.integers(0, 1000), st.integers(1, 3))
def test_fitted_tracks_sum_to_the_mixture(seed, count):
    generator = np.random.default_rng(seed)
    mixture = generator.standard_normal(300).astype(np.float32)
    estimates = generator.standard_normal((count, 300)).astype(np.float32)
    estimates[generator.random(count) < 0.3] = 0
    np.testing.assert_allclose(fit_levels(mixture, estimates).sum(0), mixture, atol=1e-4)


def test_voices_decide_where_an_overlap_is_silent():
    left, right = np.zeros((2, 100), np.float32), np.zeros((2, 100), np.float32)
    left[0, :50], right[1, 60:] = 1, 1
    asked = []
    stitcher = Stitcher(2, 40, lambda estimates: asked.append(1) or (1, 0))
    parts = [stitcher.add(0, left), stitcher.add(60, np.where(np.arange(100) < 40, 0, right))]
    tracks = np.concatenate([*parts, stitcher.finish()], axis=1)
    assert asked == [1]
    assert [join.decided for join in stitcher.joins] == ["voice"]
    assert tracks[0, 120:].all()
    assert not tracks[1].any()
