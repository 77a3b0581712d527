"""Syllables from the amplitude envelope alone: the baseline without an encoder.

Nuclei are peaks of the smoothed level, boundaries the minima between them; levels far below the loudest speech are
silence.
Source: Mermelstein 1975, Automatic segmentation of speech into syllabic units (the idea of valleys in the loudness).
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
from speechkit.syllables.peaks import cut_at
from speechkit.syllables.segments import HOP_SECONDS, Boundaries, runs_of_speech

STEP_SAMPLES = 80
HOP_SAMPLES = round(HOP_SECONDS * WAVEFORM_RATE)
STEPS_PER_FRAME = HOP_SAMPLES // STEP_SAMPLES
FLOOR_DECIBELS = -100.0
LOUD_SHARE = 0.95


@dataclass(frozen=True)
class EnvelopeSegmenter:
    """Segments of waveforms at 16 kHz.

    Attributes:
        prominence_decibels: how far the level must fall on both sides of a nucleus.
        smoothing_seconds: width of the raised cosine over which the power is averaged.
        silence_decibels: how far below the level of the loudest twentieth silence begins.

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
        """Segments (n, 2), in frames of 20 ms, of a waveform (S,).

        Raises:
            UserError: if the waveform has several channels or is not finite.
        """
        return self.segment_blocks([waveform])

    def segment_blocks(self, blocks: Iterable[NDArray[np.floating[Any]]]) -> Boundaries:
        """The same for a recording that comes in blocks of any length; memory holds 8 bytes for 5 ms."""
        return self.segment_powers(np.concatenate([np.zeros(0), *step_powers(blocks)]))

    def segment_powers(self, power: NDArray[np.float64]) -> Boundaries:
        """The same of the mean powers (P,) of every 5 ms, see `step_powers`."""
        from scipy.signal import find_peaks

        frames = len(power) // STEPS_PER_FRAME
        if not frames:
            return np.empty((0, 2), np.int64)
        levels = self._levels(power)
        # The loudest of all may be a click; digital silence says nothing about the speech.
        heard = levels[levels > FLOOR_DECIBELS]
        if not len(heard):
            return np.empty((0, 2), np.int64)
        runs = runs_of_speech(levels, float(np.quantile(heard, LOUD_SHARE)) - self.silence_decibels)
        valleys, _ = find_peaks(-levels, prominence=self.prominence_decibels)
        edges = np.rint(cut_at(runs, valleys) / STEPS_PER_FRAME).astype(np.int64)
        edges = np.minimum(edges, frames)
        kept: Boundaries = edges[edges[:, 0] < edges[:, 1]]
        return kept

    def _levels(self, power: NDArray[np.float64]) -> NDArray[np.float64]:
        half = max(1, round(self.smoothing_seconds * 16_000 / STEP_SAMPLES / 2))
        window = np.hanning(2 * half + 3)[1:-1]
        inside = slice(half, half + len(power))
        # At the ends, the average is over what is there.
        average = np.convolve(power, window)[inside] / np.convolve(np.ones(len(power)), window)[inside]
        return _decibels(average)


def _decibels(power: NDArray[np.float64]) -> NDArray[np.float64]:
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DECIBELS / 10)))
    return levels


def step_powers(blocks: Iterable[NDArray[np.floating[Any]]], samples: int = STEP_SAMPLES) -> list[NDArray[np.float64]]:
    """Mean power of every 5 ms of a waveform that comes in blocks; a rest shorter than a step is left out.

    Raises:
        UserError: if a block has several channels or is not finite.
    """
    powers: list[NDArray[np.float64]] = []
    for _ in measured(blocks, powers, samples):
        pass
    return powers


def measured(
    blocks: Iterable[NDArray[np.floating[Any]]], powers: list[NDArray[np.float64]], samples: int = STEP_SAMPLES
) -> Iterator[Float]:
    """The blocks as they come; what `step_powers` gives is added to ``powers`` meanwhile.

    Raises:
        UserError: as `step_powers`.
    """
    rest = np.zeros(0)
    heard = 0
    for block in blocks:
        waveform = np.asarray(block, np.float64)
        if waveform.ndim != 1:
            raise UserError(f"the waveform has shape {waveform.shape}; give one channel, shape (samples,)")
        if not np.isfinite(waveform).all():
            place = heard + int(np.argmin(np.isfinite(waveform)))
            raise UserError(f"sample {place} is NaN or infinite; fix the recording or leave it out")
        heard += len(waveform)
        waveform = np.concatenate([rest, waveform])
        steps = len(waveform) // samples
        powers.append((waveform[: steps * samples].reshape(steps, samples) ** 2).mean(axis=1))
        rest = waveform[steps * samples :]
        yield np.asarray(block, np.float32)


def frame_levels(waveform: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Level (T,) of each frame of 20 ms in decibels, not below -100."""
    power = np.concatenate([np.zeros(0), *step_powers([waveform], HOP_SAMPLES)])
    return _decibels(power)
