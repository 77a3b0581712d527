"""Claims about perturbations: they change what they say, by as much as they say, and depend on the id alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.augment.perturbations import AUDIBLE, CONTROLS, KINDS, PerturbationConfig, made_noise, perturb, telephone
from speechkit.augment.rooms import (
    SPEED_OF_SOUND,
    RoomConfig,
    draw_response,
    image_response,
    wall_reflection,
)
from speechkit.augment.time_scale import (
    change_speaker,
    move_formants,
    shift_pitch,
    spectrum,
    stretch,
    waveform_of,
)
from speechkit.errors import AudioError, ConfigError
from speechkit.io.audio import read_audio

RATE = 16_000


def tone(frequency, seconds=1.0):
    return (0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def voice(pitch=125, formant=900.0, seconds=1.0):
    """Harmonics under one resonance."""
    times = np.arange(round(seconds * RATE)) / RATE
    lines = np.arange(pitch, 4000, pitch)
    sizes = 1 / (1 + ((lines - formant) / 300.0) ** 2)
    return (0.1 * (np.sin(2 * np.pi * lines[:, None] * times) * sizes[:, None]).sum(0)).astype(np.float32)


def peak(waveform):
    sizes = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return np.argmax(sizes) * RATE / len(waveform)


def centre(waveform):
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return float(np.sum(np.fft.rfftfreq(len(waveform), 1 / RATE) * power) / power.sum())


@given(st.integers(0, 3000), st.integers(0, 10))
@settings(max_examples=25)
def test_a_spectrum_gives_its_waveform_back(samples, seed):
    waveform = np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)
    np.testing.assert_allclose(waveform_of(spectrum(waveform), samples), waveform, atol=1e-5)


@pytest.mark.parametrize("rate", [0.8, 0.93, 1.2])
def test_stretching_changes_the_length_and_not_the_pitch_or_loudness(rate):
    stretched = stretch(tone(437.0), rate)
    assert len(stretched) == round(RATE / rate)
    assert peak(stretched) == pytest.approx(437, abs=2)
    middle = stretched[2000:-2000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)


def test_stretching_moves_a_click_to_its_place():
    clicks = np.zeros(RATE, np.float32)
    clicks[8000:8010] = 0.9
    assert np.argmax(np.abs(stretch(clicks, 0.8))) == pytest.approx(10_000, abs=300)


@pytest.mark.parametrize("semitones", [-4, 1.5, 4])
def test_pitch_moves_by_semitones_and_the_length_stays(semitones):
    moved = shift_pitch(tone(440.0), semitones)
    assert len(moved) == RATE
    assert peak(moved) == pytest.approx(440 * 2 ** (semitones / 12), rel=0.01)


@pytest.mark.parametrize("factor", [0.85, 1.15])
def test_formants_move_without_the_pitch(factor):
    before = voice()
    after = move_formants(before, factor)
    lines = np.abs(np.fft.rfft(after[:RATE]))
    harmonics = lines[125:3000:125]
    between = lines[125 + 62 : 3000 : 125]
    assert harmonics.mean() > 20 * between.mean()
    assert (centre(after) > centre(before)) == (factor > 1)
    assert 125 * (1 + np.argmax(harmonics)) == pytest.approx(900 * factor, abs=130)


def test_a_speaker_changes_pitch_and_formants_apart():
    other = change_speaker(voice(125, 900), 1.15, -3)
    lines = np.abs(np.fft.rfft(other * np.hanning(len(other))))
    pitch = 125 * 2 ** (-3 / 12)
    peaks = np.array([lines[round(pitch * n) - 4 : round(pitch * n) + 5].max() for n in range(1, 20)])
    valleys = np.array([lines[round(pitch * (n + 0.5))] for n in range(1, 20)])
    assert peaks.sum() > 5 * valleys.sum()
    assert centre(other) > centre(voice(125, 900))


def slow_response(sides, source, microphone, seconds, rate):
    """Every image one by one, Allen and Berkley's equation 9 with the parity of each axis."""
    reflection = wall_reflection(sides, seconds)
    length = int(seconds * rate)
    response = np.zeros(length + 1)
    direct = np.linalg.norm(source - microphone) / SPEED_OF_SOUND * rate
    most = int(SPEED_OF_SOUND * seconds / min(sides)) + 2
    for cell in itertools.product(range(-most, most + 1), repeat=3):
        for mirrored in itertools.product((0, 1), repeat=3):
            place, bounces = [], 0
            for axis in range(3):
                sign = -1 if mirrored[axis] else 1
                place.append(2 * cell[axis] * sides[axis] + sign * source[axis])
                bounces += abs(cell[axis] - mirrored[axis]) + abs(cell[axis])
            distance = float(np.linalg.norm(np.array(place) - microphone))
            at = distance / SPEED_OF_SOUND * rate - direct
            if at >= length - 1:
                continue
            whole = max(0, int(np.floor(at + 1e-9)))
            share = min(1.0, max(0.0, at - whole))
            response[whole] += reflection**bounces / max(distance, 0.1) * (1 - share)
            response[whole + 1] += reflection**bounces / max(distance, 0.1) * share
    return response / np.sqrt(np.sum(response**2))


@given(st.integers(0, 1000))
@settings(max_examples=6)
def test_a_room_is_the_sum_of_its_images(seed):
    random = np.random.default_rng(seed)
    sides = random.uniform(2.5, 6.0, 3)
    source, microphone = random.uniform(0.3, sides - 0.3, (2, 3))
    fast = image_response(sides, source, microphone, 0.06, 8000)
    np.testing.assert_allclose(fast, slow_response(sides, source, microphone, 0.06, 8000), atol=1e-6)


@pytest.mark.parametrize("seconds", [0.3, 0.6])
def test_a_room_fades_in_about_the_time_that_was_asked_for(seconds):
    found = []
    for seed in range(4):
        config = RoomConfig(reverberation=(seconds, seconds))
        response = draw_response(np.random.default_rng(seed), config)
        assert np.argmax(np.abs(response)) < RATE // 50
        left = np.cumsum(response[::-1].astype(float) ** 2)[::-1]
        decibels = 10 * np.log10(left / left[0] + 1e-20)
        begin, end = np.argmax(decibels < -5), np.argmax(decibels < -20)
        found.append(4 * (end - begin) / RATE)
    assert np.mean(found) == pytest.approx(seconds, rel=0.25)


def test_noise_lies_at_the_ratio_that_was_drawn_and_comes_from_the_recordings_given():
    config = PerturbationConfig(noise=(10.0, 10.0))
    clean = voice()
    hum = tone(3517.0, 0.7)
    noisy = perturb(clean, "noise", "a", config=config, noises=[hum])
    added = noisy - clean
    assert 10 * np.log10(np.mean(clean**2) / np.mean(added**2)) == pytest.approx(10, abs=0.1)
    assert peak(added) == pytest.approx(3517, abs=5)
    made = perturb(clean, "noise", "a", config=config) - clean
    assert 10 * np.log10(np.mean(clean**2) / np.mean(made**2)) == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("noise", [np.zeros(5000), np.full(5000, 5e-6), np.zeros(0), np.full(9, np.nan)])
def test_a_noise_without_sound_is_refused(noise):
    with pytest.raises(AudioError, match=r"talk: noise 1 of 1.*silent.*not finite"):
        perturb(voice(), "noise", "talk", noises=[noise.astype(np.float32)])


@given(st.integers(0, 2000), st.integers(1, 6 * RATE))
@settings(max_examples=25)
def test_no_silent_stretch_of_a_noise_passes_as_noise(seed, begin):
    noise = np.zeros(7 * RATE, np.float32)
    noise[begin : begin + RATE] = tone(3517.0)
    clean = voice(seconds=0.3)
    config = PerturbationConfig(noise=(10.0, 10.0))
    added = perturb(clean, "noise", "a", config=config, noises=[noise], seed=seed) - clean
    assert 10 * np.log10(np.mean(clean**2) / np.mean(added**2)) == pytest.approx(10, abs=0.1)


def test_made_noise_changes_its_loudness():
    noise = made_noise(5 * RATE, np.random.default_rng(0))
    loud = [np.sqrt(np.mean(part**2)) for part in np.split(noise, 50)]
    assert max(loud) > 2 * min(loud)


def test_a_telephone_keeps_its_band_and_adds_its_own_noise():
    heard = telephone(tone(1000.0) + tone(6000.0) + tone(100.0), (300.0, 3400.0))
    power = np.abs(np.fft.rfft(heard * np.hanning(len(heard)))) ** 2
    assert power[900:1100].sum() > 1000 * power[4500:].sum()
    assert power[900:1100].sum() > 1000 * power[50:150].sum()
    assert np.std(telephone(tone(1000.0), (300.0, 3400.0))[1600:-1600] - tone(1000.0)[1600:-1600]) > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_draws_the_same_in_every_run_and_another_id_another(kind):
    clean = np.random.default_rng(0).uniform(-0.3, 0.3, 4000).astype(np.float32)
    first, again, other, seeded = (
        perturb(clean, kind, name, seed=seed) for name, seed in (("a", 0), ("a", 0), ("b", 0), ("a", 1))
    )
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    if kind in ("time", "pitch", "room", "noise", "speaker"):
        for different in (other, seeded):
            assert len(first) != len(different) or np.abs(first - different).max() > 1e-4
    if kind != "time":
        assert len(first) == len(clean)


def test_the_controls_are_inaudible_and_all_others_are_not():
    clean = voice()
    np.testing.assert_array_equal(perturb(clean, "shift", "a")[1:], clean[:-1])
    ratios = {round(float(np.max(perturb(clean, "gain", name)) / clean.max()), 4) for name in "abcdef"}
    assert ratios == {round(10 ** (0.1 / 20), 4), round(10 ** (-0.1 / 20), 4)}
    assert set(AUDIBLE) | set(CONTROLS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [0, 1, 300, 1601])
def test_silence_clipping_and_shreds_pass(kind, samples):
    for waveform in (np.zeros(samples, np.float32), np.ones(samples, np.float32)):
        changed = perturb(waveform, kind, "a")
        assert np.isfinite(changed).all()
        assert abs(len(changed) - samples) <= 0.25 * samples + 1


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="unknown perturbation"):
        perturb(tone(100.0), "echo", "a")
    with pytest.raises(AudioError, match="one channel"):
        perturb(np.zeros((2, 5)), "room", "a")
    with pytest.raises(AudioError, match="talk: has NaN"):
        perturb(np.array([0.0, np.nan]), "room", "talk")
    with pytest.raises(ConfigError, match=r"time is \(1.2, 0.8\).*telephone"):
        PerturbationConfig(time=(1.2, 0.8), telephone=(300.0, 5000.0))
    with pytest.raises(ConfigError, match="width"):
        RoomConfig(width=(0.5, 3.0))


def test_real_speech_stays_speech_of_its_loudness(shared_data):
    path = sorted((shared_data / "LibriSpeech" / "dev-clean" / "84" / "121123").glob("*.*3"))[0]
    clean = read_audio(path, sample_rate=RATE)[: 4 * RATE]
    for kind in KINDS:
        changed = perturb(clean, kind, path.stem)
        ratio = np.sqrt(np.mean(changed**2) / np.mean(clean**2))
        assert 0.3 < ratio < 1.6
