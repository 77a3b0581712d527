"""Boundaries go to quiet places and never swallow speech."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.asr.refinement import frame_energies, quietest, snap_to_quiet

RATE = 16000


def tone_with_pauses(pieces):
    """Concatenate (seconds, amplitude) pieces of noise."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=round(s * RATE)) * a for s, a in pieces]).astype(np.float32)


def test_boundaries_move_into_the_pauses():
    waveform = tone_with_pauses([(1.0, 0.1), (0.2, 0.0005), (1.0, 0.1), (0.2, 0.0005), (1.0, 0.1)])
    start, end = quietest(waveform, RATE, 1.25, 2.15)
    assert 1.05 <= start <= 1.2
    assert 2.2 <= end <= 2.35


def test_boundary_does_not_cross_the_pause_into_the_neighbour():
    waveform = tone_with_pauses([(1.0, 0.1), (0.06, 0.0005), (1.0, 0.1), (0.06, 0.0005), (1.0, 0.1)])
    start, end = quietest(waveform, RATE, 1.1, 2.0)
    assert 0.99 <= start <= 1.07
    assert 2.05 <= end <= 2.13


def test_the_last_of_a_rooms_ringing_is_left_out():
    # Speech at -20 dB until 1.0 s, then the room rings down to -60 dB by 1.2 s.
    energies = np.concatenate([np.full(100, -20.0), np.linspace(-20, -60, 20), np.full(80, -60.0)])
    _, end = snap_to_quiet(0.2, 1.0, energies, 0.01, pad_seconds=0.0)
    assert 1.1 < end < 1.18


def test_speech_just_above_noise_is_not_taken_for_quiet():
    # Six decibels are all there is between speech and noise: a quarter of them would be nothing, 3 dB still tell.
    energies = np.concatenate([np.full(100, -20.0), np.full(80, -26.0)])
    _, end = snap_to_quiet(0.2, 0.98, energies, 0.01, pad_seconds=0.0)
    assert 1.0 <= end <= 1.02


def test_silence_and_no_audio_change_little():
    assert snap_to_quiet(1.0, 2.0, np.zeros(0), 0.01) == (1.0, 2.0)
    start, end = quietest(np.zeros(RATE * 3, np.float32), RATE, 1.0, 2.0)
    assert abs(start - 1.0) < 0.1
    assert abs(end - 2.0) < 0.1


def test_energies_are_decibels_of_each_hop():
    energies = frame_energies(np.full(RATE, 0.1, np.float32), RATE)
    assert len(energies) == 100
    assert energies == pytest.approx(-20.0, abs=0.01)
    assert frame_energies(np.zeros(161, np.float32), RATE).tolist() == [-100.0, -100.0]
    assert len(frame_energies(np.zeros(0, np.float32), RATE)) == 0


@settings(max_examples=200)
@given(
    st.lists(st.floats(-100, 0), min_size=1, max_size=300),
    st.floats(0, 3),
    st.floats(0.01, 2),
)
def test_boundaries_stay_in_reach_and_in_order(levels, start, length):
    energies = np.array(levels)
    end = start + length
    first, last = snap_to_quiet(start, end, energies, 0.01)
    assert first < last
    if (first, last) != (start, end):
        assert min(start, len(levels) * 0.01) - 0.26 <= first <= start + 0.07
        assert min(end, len(levels) * 0.01) - 0.07 <= last <= end + 0.26
