"""SDR, STOI and PESQ: that the libraries are called the right way round, and what has no value."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
from scipy.linalg import toeplitz

from speechkit.errors import MissingExtraError, UserError
from speechkit.metrics.signal_quality import LIBRARIES, NotMeasuredError, known_measures, measure

RATE = 8000


def speech_like(seed=0, seconds=2):
    """Noise that rises and falls four times a second, with a spectrum like a voice."""
    random = np.random.default_rng(seed)
    time = np.arange(seconds * RATE) / RATE
    wave = np.cumsum(random.standard_normal(len(time)))
    wave -= np.convolve(wave, np.ones(80) / 80, "same")
    return 0.2 * wave / np.abs(wave).max() * (0.05 + np.maximum(0, np.sin(2 * np.pi * 4 * time + seed)))


def slow_sdr(reference, estimate, taps=512):
    """BSS-eval by least squares on 512 shifts of the reference, written out."""
    size = 1 << (2 * len(reference)).bit_length()
    one, two = np.fft.rfft(reference, size), np.fft.rfft(estimate, size)
    filtered = np.linalg.solve(toeplitz(np.fft.irfft(abs(one) ** 2)[:taps]), np.fft.irfft(one.conj() * two)[:taps])
    target = np.convolve(reference, filtered)
    rest = np.concatenate([estimate, np.zeros(taps - 1)]) - target
    return 10 * np.log10(np.sum(target**2) / np.sum(rest**2))


def test_sdr_is_that_of_the_least_squares_problem():
    pytest.importorskip("fast_bss_eval")
    reference = speech_like()
    estimate = np.convolve(reference, [0.5, 0.3, -0.2])[: len(reference)] + 0.2 * speech_like(1)
    assert measure("sdr", reference, estimate, RATE) == pytest.approx(slow_sdr(reference, estimate), abs=1e-6)
    assert measure("sdr", estimate, reference, RATE) == pytest.approx(slow_sdr(estimate, reference), abs=1e-6)
    assert measure("sdr", reference, 0 * reference, RATE) == -100


@pytest.mark.parametrize(("name", "best"), [("stoi", 1.0), ("pesq", 4.5)])
def test_a_copy_is_better_than_a_noisy_one(name, best):
    pytest.importorskip({"stoi": "pystoi", "pesq": "pesq"}[name])
    reference = speech_like(seconds=3)
    noisy = reference + 0.05 * np.random.default_rng(1).standard_normal(len(reference))
    copy = measure(name, reference, reference, RATE)
    assert copy == pytest.approx(best, abs=0.1)
    assert measure(name, reference, noisy, RATE) < copy - 0.05


def test_what_is_too_short_or_silent_has_no_value():
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")
    reference = speech_like()
    for name in ("stoi", "pesq"):
        with pytest.raises(NotMeasuredError, match=name):
            measure(name, reference[:400], reference[:400], RATE)
    with pytest.raises(NotMeasuredError, match="silent"):
        measure("pesq", reference, 0 * reference, RATE)


def test_pesq_of_another_rate_is_that_of_the_wide_band():
    pytest.importorskip("pesq")
    import soxr

    reference = speech_like(seconds=3)
    high = soxr.resample(reference, RATE, 44_100)
    assert measure("pesq", high, high, 44_100) == pytest.approx(4.64, abs=0.05)


def test_an_absent_library_is_a_note_or_where_it_was_asked_for_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "pesq", None)
    monkeypatch.setitem(sys.modules, "pystoi", None)
    monkeypatch.setitem(sys.modules, "fast_bss_eval", None)
    measures, notes = known_measures(None)
    assert measures == []
    assert [note.split(":")[0] for note in notes] == ["no SDR", "no STOI", "no PESQ"]
    assert ["separation-scores" in note for note in notes] == [True, True, False]  # PESQ has an extra of its own
    assert "[pesq]" in notes[2]
    with pytest.raises(MissingExtraError, match="pesq is not installed; run: pip install"):
        known_measures(["pesq"])
    assert known_measures([]) == ([], [])


@pytest.mark.parametrize("absent", sorted(LIBRARIES))
def test_a_measure_does_not_need_the_libraries_of_the_others(monkeypatch, absent):
    for name, library in LIBRARIES.items():
        monkeypatch.setitem(sys.modules, library, None if name == absent else ModuleType(library))
    measures, notes = known_measures(None)
    assert set(measures) == set(LIBRARIES) - {absent}
    assert len(notes) == 1
    assert LIBRARIES[absent] in notes[0]


def test_a_measure_that_is_not_known_says_which_are():
    with pytest.raises(UserError, match="'mos' is unknown; choose from sdr, stoi, pesq"):
        known_measures(["mos"])
