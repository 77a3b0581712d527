"""Change of tempo, pitch and speaker: a phase vocoder, and a shift of the spectral envelope.

Notation used for array shapes: S samples, F = N / 2 + 1 frequencies, M frames of the short-time spectrum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.io.arrays import Float

Complex = NDArray[np.complex128]
WINDOW = 512
"""Samples of a window, 32 ms: resolves the harmonics of low voices as well as syllables."""
HOP = 128
LIFTER = 32
"""Cepstral coefficients of an envelope, which excludes detail finer than 500 Hz and so the harmonics of most voices."""


def spectrum(waveform: NDArray[Any]) -> Complex:
    """Short-time spectrum (M, F) of a waveform (S,), M = ceil(S / HOP) + 1, frame m around sample m * HOP."""
    padded = np.pad(np.asarray(waveform, np.float64), (WINDOW // 2, WINDOW // 2 + HOP))
    frames = -(-len(waveform) // HOP) + 1
    views = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:frames]
    return np.asarray(np.fft.rfft(views * _window(), axis=1), np.complex128)


def waveform_of(frames: Complex, samples: int) -> Float:
    """The waveform (S,) with the spectrum nearest to ``frames`` (M, F) (Griffin and Lim 1984, equation 6)."""
    pieces = np.fft.irfft(frames, WINDOW, axis=1) * _window()
    total = np.zeros((len(frames) - 1) * HOP + WINDOW)
    weight = np.zeros_like(total)
    squared = _window() ** 2
    # Each of the four interleaved sets of frames overlaps only with the others.
    sets = WINDOW // HOP
    for first in range(sets):
        part = pieces[first::sets]
        span = slice(first * HOP, first * HOP + len(part) * WINDOW)
        total[span] += part.reshape(-1)
        weight[span] += np.tile(squared, len(part))
    kept = slice(WINDOW // 2, WINDOW // 2 + samples)
    answer = total[kept] / np.maximum(weight[kept], 1e-3)
    return np.pad(answer, (0, samples - len(answer))).astype(np.float32)


def stretch(waveform: NDArray[Any], rate: float) -> Float:
    """Speak ``rate`` times as fast at the same pitch: (S,) to (round(S / rate),).

    Phases advance from frame to frame at each peak's frequency, and the bins around a peak keep their phase relative to
    it (phase locking), without which voices sound hollow.

    Source: Laroche and Dolson 1999, Improved phase vocoder time-scale modification of audio, sections II and III.C.
    """
    samples = round(len(waveform) / rate)
    if rate == 1.0 or not samples:
        return np.asarray(waveform[:samples], np.float32)
    frames = spectrum(waveform)
    positions = np.arange(0, len(frames) - 1, rate)
    before = positions.astype(np.int64)
    share = (positions - before)[:, None]
    sizes = np.abs(frames)
    phases = np.angle(frames)
    size = (1 - share) * sizes[before] + share * sizes[before + 1]
    expected = 2 * np.pi * HOP * np.arange(frames.shape[1]) / WINDOW
    turn = phases[before + 1] - phases[before] - expected
    advance = expected + turn - 2 * np.pi * np.round(turn / (2 * np.pi))
    answer = np.empty(size.shape, np.complex128)
    phase = phases[0].copy()
    for m in range(len(size)):
        if m:
            phase = phase + advance[m - 1]
        nearest = _nearest_peak(size[m])
        phase = (phase[nearest] + phases[before[m]] - phases[before[m]][nearest]) % (2 * np.pi)
        answer[m] = size[m] * np.exp(1j * phase)
    return waveform_of(answer, samples)


def shift_pitch(waveform: NDArray[Any], semitones: float) -> Float:
    """Shift pitch and formants by ``semitones``; the length is unchanged."""
    import soxr

    if not len(waveform) or semitones == 0:
        return np.asarray(waveform, np.float32)
    factor = 2.0 ** (semitones / 12)
    longer = stretch(waveform, 1 / factor)
    moved = np.asarray(soxr.resample(longer, factor, 1.0, quality="HQ"), np.float32)
    return np.pad(moved[: len(waveform)], (0, max(0, len(waveform) - len(moved))))


def move_formants(waveform: NDArray[Any], factor: float) -> Float:
    """Multiply the frequencies of the spectrum's envelope by ``factor`` (above 1: a shorter vocal tract); F0 stays."""
    if not len(waveform) or factor == 1.0:
        return np.asarray(waveform, np.float32)
    frames = spectrum(waveform)
    floor = 1e-4 * max(float(np.abs(frames).max()), 1e-12)
    logarithm = np.log(np.maximum(np.abs(frames), floor))
    cepstrum = np.fft.irfft(logarithm, WINDOW, axis=1)
    cepstrum[:, LIFTER : WINDOW - LIFTER + 1] = 0
    envelope = np.fft.rfft(cepstrum, axis=1).real
    bins = np.arange(frames.shape[1])
    source = np.minimum(bins / factor, bins[-1])
    below = np.minimum(source.astype(np.int64), bins[-1] - 1)
    share = source - below
    moved = (1 - share) * envelope[:, below] + share * envelope[:, below + 1]
    # Limits the gain, so that noise in near-silent bands is not amplified.
    gain = np.exp(np.clip(moved - envelope, -3.0, 3.0))
    return waveform_of(np.asarray(frames * gain, np.complex128), len(waveform))


def change_speaker(waveform: NDArray[Any], formants: float, semitones: float) -> Float:
    """Another voice: F0 shifted by ``semitones``, formants independently by the factor ``formants``."""
    # The pitch shift moves the formants too; only the remainder is left.
    return move_formants(shift_pitch(waveform, semitones), formants / 2.0 ** (semitones / 12))


def _window() -> NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


def _nearest_peak(size: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each bin the peak of the region that it belongs to; regions meet halfway."""
    inner = (size[1:-1] > size[:-2]) & (size[1:-1] >= size[2:])
    peaks = np.flatnonzero(inner) + 1
    if not len(peaks):
        return np.arange(len(size))
    return peaks[np.searchsorted((peaks[1:] + peaks[:-1]) / 2, np.arange(len(size)))]
