"""Log-mel and MFCC frames: encoders without weights, the baselines of every comparison."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

from speechkit.encoders.encoder import Encoder, Float, checked
from speechkit.encoders.spec import HOP_SAMPLES, EncoderSpec

FFT_SAMPLES = 512
FRONT = 40
"""Samples before a waveform: windows of 400 samples then stand in the middle of their 320."""


class SignalEncoder(Encoder):
    """80 log-mel bands, or 13 cepstra with their first and second differences, a frame every 20 ms.

    Each dimension has its mean over the item taken away (cepstral mean normalisation), so that a microphone's response
    does not show. Source of the cepstra: Davis and Mermelstein 1980.
    """

    num_layers = 0

    def __init__(self, kind: Literal["log-mel", "mfcc"]):
        self.kind = kind
        self.spec = EncoderSpec(
            model=kind, weights=f"{kind}-1", layer="0", normalization="item-mean", dim=80 if kind == "log-mel" else 39
        )

    def encode_batch(self, waveforms: Sequence[Float]) -> list[Float]:
        """See `Encoder`."""
        return [self._frames(waveform) for waveform in checked(waveforms)]

    def encode_layers(self, waveform: Float) -> Float:
        """The frames, as the only layer: (1, T, D)."""
        return self.encode(waveform)[None]

    def _frames(self, waveform: Float) -> Float:
        count = len(waveform) // HOP_SAMPLES
        if not count:
            return np.zeros((0, self.spec.dim), np.float32)
        padded = np.pad(waveform, (FRONT, FRONT))
        pieces = np.lib.stride_tricks.sliding_window_view(padded, 400)[::HOP_SAMPLES][:count]
        power = np.abs(np.fft.rfft(pieces * np.hanning(401)[:400], FFT_SAMPLES)) ** 2
        mel = np.log(np.maximum(power @ _mel_filters().T, 1e-8))
        features = mel if self.kind == "log-mel" else _cepstra(mel)
        return np.asarray(features - features.mean(axis=0), np.float32)


@lru_cache(maxsize=1)
def _mel_filters() -> Float:
    from speechkit.nn.mel import mel_filters

    return mel_filters(80, FFT_SAMPLES)


def _cepstra(mel: Float) -> Float:
    from scipy.fft import dct

    cepstra = dct(mel, type=2, norm="ortho", axis=1)[:, :13]
    first = _difference(cepstra)
    return np.concatenate([cepstra, first, _difference(first)], axis=1)


def _difference(values: Float) -> Float:
    """Slope of the regression line over five frames, the edges repeated."""
    padded = np.pad(values, ((2, 2), (0, 0)), mode="edge")
    count = len(values)
    slope = sum(step * (padded[2 + step : 2 + step + count] - padded[2 - step : 2 - step + count]) for step in (1, 2))
    return np.asarray(slope / 10.0, np.float32)
