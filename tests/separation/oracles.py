"""Separators that know the sources, so that everything around a network can be tested exactly."""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

from speechkit.separation.voices import Voice


class OracleSeparator:
    """Finds each window in the mixture that it was given and answers with the sources there.

    Of every window in turn the order, the sign and the level of the answers are drawn anew.
    """

    def __init__(self, sources, rate=8000, batch_size=1, seed=0, orders=None, scale=True):
        self.sources = np.asarray(sources, np.float32)
        self.mixture = self.sources.sum(0)
        self.sample_rate, self.speakers, self.batch_size = rate, len(self.sources), batch_size
        self.generator = np.random.default_rng(seed)
        self.orders, self.scale = orders, scale
        self.windows = []
        self.counting = None

    def separate_windows(self, windows):
        return np.stack([self._one(window) for window in windows])

    def _one(self, window):
        begin = self._place(window)
        self.windows.append((begin, len(window)))
        order = self.orders[len(self.windows) - 1] if self.orders else self.generator.permutation(self.speakers)
        found = self.sources[list(order), begin : begin + len(window)].copy()
        if self.scale:
            found *= self.generator.uniform(0.5, 4.0, (self.speakers, 1)) * self.generator.choice([-1, 1])
        return found.astype(np.float32)

    def _place(self, window):
        """The only place where the mixture is the window but for its level: where their cosine is greatest."""
        products = fftconvolve(self.mixture.astype(np.float64), window[::-1].astype(np.float64), mode="valid")
        sums = np.concatenate([[0.0], np.cumsum(np.square(self.mixture, dtype=np.float64))])
        energy = sums[len(window) :] - sums[: len(sums) - len(window)]
        return int(np.argmax(products / np.sqrt(np.maximum(energy, 1e-9))))


class SplitSeparator:
    """A separator that needs no truth: low and high tones of the mixture; fast enough for hours."""

    speakers, counting = 2, None

    def __init__(self, rate=8000, batch_size=4):
        self.sample_rate, self.batch_size = rate, batch_size

    def separate_windows(self, windows):
        smooth = (windows + np.roll(windows, 1, axis=1)) / 2
        return np.stack([smooth, windows - smooth], axis=1)


def no_voice(speech, rate):
    """No encoder at all."""


def pitch_voice(speech, rate):
    """A voice that is the spectrum of the speech: enough to tell tones apart."""
    if len(speech) < rate // 2:
        return None
    spectrum = np.abs(np.fft.rfft(speech[: rate // 2], n=rate // 2)) ** 2
    bands = np.log(spectrum[: rate // 4].reshape(50, -1).mean(1) + 1e-9).astype(np.float32)
    return Voice(bands, np.ones_like(bands))
