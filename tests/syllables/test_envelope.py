"""Syllables from the envelope of waveforms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import ConfigError, UserError
from speechkit.syllables.envelope import EnvelopeSegmenter, frame_levels, step_powers


def bursts(starts, length=0.15, seconds=2.0, noise=1e-4):
    """Raised-cosine bursts of noise at some seconds."""
    random = np.random.default_rng(0)
    waveform = noise * random.standard_normal(round(seconds * 16_000))
    samples = round(length * 16_000)
    for start in starts:
        begin = round(start * 16_000)
        waveform[begin : begin + samples] += 0.3 * np.hanning(samples) * random.standard_normal(samples)
    return waveform.astype(np.float32)


def test_each_burst_is_a_segment_and_silence_is_none():
    starts = [0.2, 0.4, 0.6, 1.3, 1.5]
    found = EnvelopeSegmenter().segment(bursts(starts)) * 0.02
    assert len(found) == 5
    for (begin, end), start in zip(found, starts, strict=True):
        assert begin < start + 0.075 < end
    assert found[2, 1] < 0.9
    assert found[3, 0] > 1.1


@settings(max_examples=40)
@given(st.lists(st.integers(0, 5000), max_size=20))
def test_blocks_of_any_length_give_the_same(cuts):
    waveform = bursts([0.1, 0.3, 0.5, 0.8], seconds=1.0)
    edges = np.minimum(np.cumsum([0, *cuts]), len(waveform))
    blocks = [*np.split(waveform, edges)]
    found = EnvelopeSegmenter().segment_blocks(blocks)
    assert np.array_equal(found, EnvelopeSegmenter().segment(waveform))


@settings(max_examples=40)
@given(st.integers(0, 40_000), st.integers(0, 9))
def test_segments_are_ordered_and_lie_inside(samples, seed):
    waveform = np.random.default_rng(seed).standard_normal(samples).astype(np.float32)
    waveform *= np.random.default_rng(seed).choice([0.0, 0.01, 1.0], samples // 1600 + 1).repeat(1600)[:samples]
    found = EnvelopeSegmenter().segment(waveform)
    edges = found.reshape(-1)
    assert (np.diff(edges) >= 0).all()
    assert (found[:, 0] < found[:, 1]).all()
    assert not len(edges) or 0 <= edges[0] <= edges[-1] <= samples // 320


def test_levels_equal_their_definition():
    waveform = bursts([0.1], seconds=0.5)
    wanted = [10 * np.log10((waveform[t : t + 320].astype(float) ** 2).mean()) for t in range(0, 8000, 320)]
    assert frame_levels(waveform) == pytest.approx(wanted)
    assert frame_levels(np.zeros(700, np.float32)).tolist() == [-100, -100]
    assert np.concatenate(step_powers([waveform])) == pytest.approx(
        (waveform.astype(float) ** 2).reshape(-1, 80).mean(1)
    )


def test_silence_single_steps_and_bad_input():
    assert EnvelopeSegmenter().segment(np.zeros(16_000, np.float32)).shape == (0, 2)
    assert EnvelopeSegmenter().segment(np.zeros(0, np.float32)).shape == (0, 2)
    assert EnvelopeSegmenter().segment(np.ones(320, np.float32)).tolist() == [[0, 1]]
    with pytest.raises(UserError, match="one channel"):
        EnvelopeSegmenter().segment(np.ones((2, 400), np.float32))
    with pytest.raises(UserError, match="sample 500 is NaN"):
        EnvelopeSegmenter().segment_blocks([np.zeros(300), np.r_[np.zeros(200), np.nan]])
    with pytest.raises(ConfigError, match="silence_decibels is 0"):
        EnvelopeSegmenter(silence_decibels=0)
