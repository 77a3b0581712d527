"""Dynamic programming finds the cheapest of all segmentations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import ConfigError, UserError
from speechkit.syllables import dynamic, make_segmenter
from speechkit.syllables.dynamic import DynamicSegmenter, penalty_for_rate
from tests.syllables.references import dynamic_cost, every_segmentation, run_lengths, syllables


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 10),
    st.sampled_from([(1, 1), (1, 4), (2, 3), (2, 6), (3, 35)]),
    st.floats(0, 30),
)
def test_no_segmentation_costs_less(seed, length, limits, penalty):
    frames = np.random.default_rng(seed).standard_normal((length, 3)).cumsum(0).astype(np.float32)
    shortest, longest = limits
    found = DynamicSegmenter(penalty, shortest, longest).segment(frames)
    ways = list(every_segmentation(length, shortest, longest)) or [[(0, length)]]
    exact = frames.astype(np.float64)
    least = min(dynamic_cost(exact, way, penalty) for way in ways)
    assert dynamic_cost(exact, found, penalty) == pytest.approx(least, abs=1e-6)
    assert [tuple(pair) for pair in found] in ways


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, 5), (3, 12)]), st.floats(0.1, 40))
def test_long_recordings_equal_the_quadratic_recursion_across_blocks(seed, limits, penalty):
    frames = syllables(seed, count=15)
    shortest, longest = limits
    exact, length = frames.astype(np.float64), len(frames)
    best = [0.0] + [np.inf] * length
    for end in range(1, length + 1):
        for start in range(max(0, end - longest), end - shortest + 1):
            best[end] = min(best[end], best[start] + dynamic_cost(exact, [(start, end)], penalty))
    block, dynamic.BLOCK_FRAMES = dynamic.BLOCK_FRAMES, 16
    try:
        found = DynamicSegmenter(penalty, shortest, longest).segment(frames)
    finally:
        dynamic.BLOCK_FRAMES = block
    if length >= 2 * shortest:
        assert dynamic_cost(exact, found, penalty) == pytest.approx(best[-1], rel=1e-9)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_segments_cover_the_speech_and_keep_their_limits(seed):
    frames = syllables(seed, 25)
    found = DynamicSegmenter(2.0, 2, 5, norm=1.3).segment(frames)
    runs = run_lengths(np.linalg.norm(frames.astype(np.float64), axis=1) >= 1.3)
    for start, end in runs:
        inside = found[(found[:, 0] >= start) & (found[:, 1] <= end)]
        assert inside[0, 0] == start
        assert inside[-1, 1] == end
        assert (inside[1:, 0] == inside[:-1, 1]).all()
        if end - start >= 2:
            assert (np.diff(inside) >= 2).all()
        assert (np.diff(inside) <= 5).all()
    assert sum(end - start for start, end in runs) == np.diff(found).sum()


def test_planted_syllables_are_found():
    frames = np.repeat(4 * np.eye(6, dtype=np.float32), [5, 9, 4, 12, 7, 6], axis=0)
    found = make_segmenter("dynamic", penalty=5.0).segment(frames)
    assert found.tolist() == [[0, 5], [5, 14], [14, 18], [18, 30], [30, 37], [37, 43]]


def test_a_larger_penalty_never_gives_more_segments():
    frames = syllables(4, 30)
    counts = [len(DynamicSegmenter(penalty).segment(frames)) for penalty in (0, 0.5, 2, 8, 32, 128)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_the_penalty_for_a_rate_gives_that_rate():
    recordings = [syllables(seed, 80) for seed in range(4)]
    penalty = penalty_for_rate(recordings, 6.0, norm=1.3)
    segmenter = DynamicSegmenter(penalty, norm=1.3)
    speech = sum((np.linalg.norm(frames, axis=1) >= 1.3).sum() for frames in recordings) * 0.02
    assert sum(len(segmenter.segment(frames)) for frames in recordings) / speech == pytest.approx(6.0, rel=0.05)
    assert penalty_for_rate(recordings, 1000.0) < 1e-3  # as many as the shortest duration allows
    with pytest.raises(UserError, match="no frames of speech"):
        penalty_for_rate(recordings, 5.0, norm=1e9)


def test_empty_short_and_silent_frames():
    assert DynamicSegmenter(1.0).segment(np.zeros((0, 4), np.float32)).shape == (0, 2)
    assert DynamicSegmenter(1.0).segment(np.ones((1, 4), np.float32)).tolist() == [[0, 1]]
    assert DynamicSegmenter(1.0).segment(np.zeros((70, 4), np.float32)).tolist() == [[0, 35], [35, 70]]
    assert DynamicSegmenter(1.0, norm=0.5).segment(np.zeros((70, 4), np.float32)).shape == (0, 2)


def test_a_closure_is_within_a_segment_and_a_pause_is_not():
    frames = np.ones((60, 4), np.float32)
    frames[10:15] = frames[30:40] = 0.0
    segmenter = DynamicSegmenter(100.0, norm=0.5, shortest_silence=8)
    assert segmenter.segment(frames).tolist() == [[0, 30], [40, 60]]


def test_values_that_are_not_finite_and_settings_out_of_range_are_refused():
    frames = np.ones((9, 3), np.float32)
    frames[4, 1] = np.nan
    with pytest.raises(UserError, match="frame 4 "):
        DynamicSegmenter(1.0).segment(frames)
    for settings_ in (
        {"penalty": -1.0},
        {"penalty": 1.0, "shortest": 0},
        {"penalty": 1.0, "shortest": 3, "longest": 4},
        {"penalty": 1.0, "shortest_silence": 0},
    ):
        with pytest.raises(ConfigError):
            make_segmenter("dynamic", **settings_)
