"""Syllable segmentation from the amplitude envelope: the baseline without an encoder.

Nuclei are peaks of the smoothed level and boundaries the minima between them; levels far below the loudest speech are
silence.
Source: after Mermelstein 1975, Automatic segmentation of speech into syllabic units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.data.audio import WAVEFORM_RATE
from speechkit.errors import ConfigError, UserError
from speechkit.io.arrays import Float
from speechkit.syllables.peaks import split_runs
from speechkit.syllables.segments import HOP_SECONDS, Boundaries, speech_runs

STEP_SAMPLES = 80
HOP_SAMPLES = round(HOP_SECONDS * WAVEFORM_RATE)
STEPS_PER_FRAME = HOP_SAMPLES // STEP_SAMPLES
FLOOR_DECIBELS = -100.0
LOUD_SHARE = 0.95


@dataclass(frozen=True)
class EnvelopeSegmenter:
    """Segments waveforms at 16 kHz.

    Attributes:
        prominence_decibels: minimum depth of a level valley between two nuclei.
        smoothing_seconds: width of the raised-cosine smoothing window of the power.
        silence_decibels: level of silence below the 95th percentile of the level.

    Raises:
        ConfigError: if a value is out of range.
    """

    prominence_decibels: float = 2.0
    smoothing_seconds: float = 0.1
    silence_decibels: float = 30.0

    def __post_init__(self) -> None:
        for name in ("prominence_decibels", "smoothing_seconds", "silence_decibels"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a number above 0")

    def segment(self, waveform: NDArray[np.floating[Any]]) -> Boundaries:
        """Segments (n, 2) of a waveform (S,), in frames of 20 ms.

        Raises:
            UserError: if the waveform has several channels or is not finite.
        """
        return self.segment_blocks([waveform])

    def segment_blocks(self, blocks: Iterable[NDArray[np.floating[Any]]]) -> Boundaries:
        """Segments of a waveform given in blocks of any length; needs 8 bytes per 5 ms."""
        return self.segment_powers(np.concatenate([np.zeros(0), *step_powers(blocks)]))

    def segment_powers(self, power: NDArray[np.float64]) -> Boundaries:
        """Segments from the mean powers (P,) of 5 ms steps, see `step_powers`."""
        from scipy.signal import find_peaks

        frames = len(power) // STEPS_PER_FRAME
        if not frames:
            return np.empty((0, 2), np.int64)
        levels = self._levels(power)
        # A quantile is robust to clicks; digital silence is excluded.
        audible = levels[levels > FLOOR_DECIBELS]
        if not len(audible):
            return np.empty((0, 2), np.int64)
        runs = speech_runs(levels, float(np.quantile(audible, LOUD_SHARE)) - self.silence_decibels)
        valleys, _ = find_peaks(-levels, prominence=self.prominence_decibels)
        edges = np.rint(split_runs(runs, valleys) / STEPS_PER_FRAME).astype(np.int64)
        edges = np.minimum(edges, frames)
        kept: Boundaries = edges[edges[:, 0] < edges[:, 1]]
        return kept

    def _levels(self, power: NDArray[np.float64]) -> NDArray[np.float64]:
        half = max(1, round(self.smoothing_seconds * 16_000 / STEP_SAMPLES / 2))
        window = np.hanning(2 * half + 3)[1:-1]
        inside = slice(half, half + len(power))
        # At the ends, the average is over the part of the window inside the signal.
        average = np.convolve(power, window)[inside] / np.convolve(np.ones(len(power)), window)[inside]
        return _decibels(average)


def _decibels(power: NDArray[np.float64]) -> NDArray[np.float64]:
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DECIBELS / 10)))
    return levels


def step_powers(blocks: Iterable[NDArray[np.floating[Any]]], samples: int = STEP_SAMPLES) -> list[NDArray[np.float64]]:
    """Mean power of each 5 ms step of a waveform given in blocks; an incomplete last step is dropped.

    Raises:
        UserError: if a block has several channels or is not finite.
    """
    powers: list[NDArray[np.float64]] = []
    for _ in power_tee(blocks, powers, samples):
        pass
    return powers


def power_tee(
    blocks: Iterable[NDArray[np.floating[Any]]], powers: list[NDArray[np.float64]], samples: int = STEP_SAMPLES
) -> Iterator[Float]:
    """Pass the blocks through, and append their `step_powers` to ``powers``.

    Raises:
        UserError: as `step_powers`.
    """
    rest = np.zeros(0)
    samples_seen = 0
    for block in blocks:
        waveform = np.asarray(block, np.float64)
        if waveform.ndim != 1:
            raise UserError(f"the waveform has shape {waveform.shape}; give one channel, shape (samples,)")
        if not np.isfinite(waveform).all():
            sample = samples_seen + int(np.argmin(np.isfinite(waveform)))
            raise UserError(f"sample {sample} is NaN or infinite; fix or remove the recording")
        samples_seen += len(waveform)
        waveform = np.concatenate([rest, waveform])
        steps = len(waveform) // samples
        powers.append((waveform[: steps * samples].reshape(steps, samples) ** 2).mean(axis=1))
        rest = waveform[steps * samples :]
        yield np.asarray(block, np.float32)


def frame_levels(waveform: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Level (T,) of each 20 ms frame in decibels, at least -100."""
    power = np.concatenate([np.zeros(0), *step_powers([waveform], HOP_SAMPLES)])
    return _decibels(power)
