"""The fundamental frequency of speech, frame by frame.

Source: de Cheveigné and Kawahara 2002, YIN, a fundamental frequency estimator for speech and music.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speechkit.io.arrays import Float

HOP_SAMPLES = 160
LOWEST, HIGHEST = 60.0, 500.0
"""Hertz: from a low male voice to a high child's."""
DIP = 0.15
"""The first dip of the normalised difference below this is the period."""
VOICED = 0.4
"""A frame is voiced where the difference at its period is below this …"""
AUDIBLE = 0.01
"""… and it has at least this share of the loudest frame's amplitude (40 dB below)."""
_BLOCK = 2048  # frames at once


def pitch(waveform: Float, rate: int = 16_000) -> Float:
    """F0 in hertz of every frame of 10 ms, 0 where it is unvoiced.

    Frame t is centred at sample ``(t + 0.5) * hop``, as those of `speechkit.nn.mel.MelSpectrogram`.

    Shapes: waveform (S,) -> (S // hop,), hop = rate / 100.
    """
    hop = rate // 100
    longest = int(rate / LOWEST) + 1
    shortest = int(rate / HIGHEST)
    width = 2 * longest  # the window, and the same again for its shifted copies
    frames = len(waveform) // hop
    if not frames:
        return np.zeros(0, np.float32)
    before = width // 2 + longest // 2 - hop // 2
    padded = np.pad(np.asarray(waveform, np.float64), (before, width + longest))
    spans = np.lib.stride_tricks.sliding_window_view(padded, width + longest)[::hop][:frames]
    loudness = np.sqrt(np.mean(np.square(spans), axis=1))
    pitch = np.zeros(frames, np.float32)
    for begin in range(0, frames, _BLOCK):
        pitch[begin : begin + _BLOCK] = _periods(spans[begin : begin + _BLOCK], width, shortest, longest, rate)
    pitch[loudness < AUDIBLE * loudness.max()] = 0.0
    return pitch


def _periods(spans: NDArray[np.float64], width: int, shortest: int, longest: int, rate: int) -> NDArray[np.float64]:
    """F0 of each span (frames, width + longest), 0 where it has no period."""
    size = 1 << int(np.ceil(np.log2(spans.shape[1] + width)))
    product = np.fft.irfft(np.fft.rfft(spans, size) * np.conj(np.fft.rfft(spans[:, :width], size)), size)[
        :, : longest + 1
    ]
    power = np.cumsum(np.pad(np.square(spans), ((0, 0), (1, 0))), axis=1)
    energy = power[:, width : width + longest + 1] - power[:, : longest + 1]  # of the window shifted by each lag
    difference = np.maximum(energy[:, :1] + energy - 2 * product, 0.0)
    # Divided by its mean over all shorter lags: near 1 where nothing repeats.
    lags = np.arange(1, longest + 1)
    mean = np.cumsum(difference[:, 1:], axis=1) / lags
    normalised = np.ones_like(difference)
    np.divide(difference[:, 1:], mean, out=normalised[:, 1:], where=mean > 1e-12)
    inner = normalised[:, shortest:longest]
    valley = np.ones_like(inner, bool)
    valley[:, 1:] &= inner[:, 1:] <= inner[:, :-1]
    valley[:, :-1] &= inner[:, :-1] < inner[:, 1:]
    dips = valley & (inner < DIP)
    lag = np.where(dips.any(axis=1), dips.argmax(axis=1), inner.argmin(axis=1)) + shortest
    rows = np.arange(len(spans))
    left, middle, right = (normalised[rows, np.clip(lag + step, 1, longest)] for step in (-1, 0, 1))
    curve = left + right - 2 * middle
    shift = np.divide(left - right, 2 * curve, out=np.zeros(len(spans)), where=np.abs(curve) > 1e-12)
    exact = lag + np.clip(shift, -0.5, 0.5)
    return np.where(middle < VOICED, rate / exact, 0.0)
