"""Claims about other implementations: they do what ours do, and are others."""

from __future__ import annotations

import numpy as np
import pytest

from speechkit.augment import foreign
from speechkit.augment.perturbations import AUDIBLE, EVERY, FOREIGN, KINDS, perturb
from speechkit.augment.time_scale import shift_pitch, stretch
from speechkit.errors import ConfigError, MissingExtraError

RATE = 16_000
PROGRAMS = {"librosa": "librosa", "ffmpeg": "ffmpeg"}


def tone(frequency, seconds=1.0):
    return (0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def peak(waveform):
    sizes = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return np.argmax(sizes) * RATE / len(waveform)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("rate", [0.8, 1.2])
def test_speed_changes_the_length_and_not_the_pitch(program, rate):
    before = tone(437.0)
    after = getattr(foreign, f"stretch_by_{program}")(before, rate)
    assert len(after) == pytest.approx(RATE / rate, rel=0.04)
    assert peak(after) == pytest.approx(437, rel=0.02)
    ours = stretch(before, rate)
    shared = min(len(ours), len(after))
    assert not np.allclose(ours[:shared], after[:shared], atol=1e-2)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("semitones", [-4, 4])
def test_pitch_moves_by_semitones_and_the_length_stays(program, semitones):
    before = tone(440.0)
    after = getattr(foreign, f"shift_pitch_by_{program}")(before, semitones)
    assert len(after) == len(before)
    assert peak(after) == pytest.approx(440 * 2 ** (semitones / 12), rel=0.02)
    assert not np.allclose(shift_pitch(before, semitones), after, atol=1e-2)


def test_every_kind_draws_by_the_id_alone_and_ours_stay_the_default():
    waveform = tone(300.0) + np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.02
    room = np.zeros(4000, np.float32)
    room[[600, 1500, 3000]] = 1.0, 0.5, 0.3
    for kind in FOREIGN:
        once = perturb(waveform, kind, "a", rooms=[room])
        np.testing.assert_array_equal(once, perturb(waveform, kind, "a", rooms=[room]))
        assert once.dtype == np.float32
        assert np.isfinite(once).all()
        assert len(once) != len(waveform) or not np.allclose(once, waveform, atol=1e-3)
        assert (len(once) != len(waveform)) == kind.startswith("time")
    assert set(KINDS) | set(FOREIGN) == set(EVERY)
    assert not set(FOREIGN) & set(AUDIBLE)


def test_a_recorded_room_begins_with_the_direct_sound():
    room = np.zeros(900, np.float32)
    room[[400, 700]] = 1.0, 0.5
    click = np.zeros(2000, np.float32)
    click[100] = 0.5
    heard = perturb(click, "room_recorded", "a", rooms=[room])
    assert np.argmax(np.abs(heard)) == 100
    assert heard[400] == pytest.approx(heard[100] / 2, rel=1e-4)
    with pytest.raises(ConfigError, match="room_recorded needs recorded rooms"):
        perturb(click, "room_recorded", "a")


def test_short_recordings_stay_and_what_is_missing_is_one_sentence(monkeypatch):
    short = tone(440.0, 0.05)
    for kind in ("time_librosa", "time_ffmpeg", "pitch_librosa", "pitch_ffmpeg"):
        np.testing.assert_array_equal(perturb(short, kind, "a"), short)
    monkeypatch.setattr(foreign.shutil, "which", lambda name: None)
    with pytest.raises(MissingExtraError, match="install ffmpeg, or leave out"):
        perturb(tone(440.0), "time_ffmpeg", "a")
    monkeypatch.setitem(__import__("sys").modules, "librosa", None)
    with pytest.raises(MissingExtraError, match=r"librosa is not installed; run: pip install .*perturbations"):
        perturb(tone(440.0), "pitch_librosa", "a")
