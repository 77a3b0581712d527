"""Speaker embeddings of tracks, pooled from the embedded encoder, and the order of tracks by voice.

The first transformer layer of that encoder, averaged over time and divided by its standard deviation, distinguished two
voices of one corpus in 87 % of pairs from one second each and in 95 % from three (60 speakers, 1,653 pairs); the last
layer, which encodes words, in half of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from speechkit.io.arrays import Float
from speechkit.separation.stitching import best_order

ENCODER_LAYER = 1
ENCODER_RATE = 16_000
FRAME_SECONDS = 0.02
MIN_SECONDS = 0.5
"""Less speech than this gives no usable embedding."""
MEMORY_SECONDS = 10.0
DOMINANT_DB = 6.0
RANGE_DB = 30.0
SILENT_DB = -70.0
SURE_GAP = 0.05


class Voice(NamedTuple):
    """Mean and standard deviation (D,) of the encoder frames of a speaker."""

    mean: Float
    deviation: Float


Embed = Callable[[Float, int], "Voice | None"]
"""Maps speech (samples,) at a rate in Hz to its voice; None if it is too short."""


def embed_voice(speech: Float, rate: int) -> Voice | None:
    """The voice of speech (samples,) by the embedded encoder; None for less than half a second."""
    import soxr

    if len(speech) < MIN_SECONDS * rate:
        return None
    waveform = speech if rate == ENCODER_RATE else soxr.resample(speech, rate, ENCODER_RATE)
    frames = _encoder().encode(np.asarray(waveform, np.float32))  # (T, D)
    return Voice(frames.mean(0), frames.std(0))


def voice_distance(first: Voice, second: Voice) -> float:
    """Mean squared difference of two voices, normalised by their deviation; 0 for the same speech."""
    scale = np.maximum((first.deviation + second.deviation) / 2, 1e-6)
    return float(np.mean(((first.mean - second.mean) / scale) ** 2))


def order_by_voice(old: Sequence[Voice | None], new: Sequence[Voice | None]) -> tuple[int, ...] | None:
    """The order in which voices of a new window continue those of the tracks; None if it is not clear.

    Both sides are centred, which removes the recording's channel. So one side needs at least two voices, and the other
    at least one.
    """
    known, fresh = [voice for voice in old if voice], [voice for voice in new if voice]
    if not known or not fresh or max(len(known), len(fresh)) < 2:
        return None
    scale = np.maximum(np.mean([voice.deviation for voice in (*known, *fresh)], axis=0), 1e-6)
    known_mean, fresh_mean = (np.mean([voice.mean for voice in side], axis=0) for side in (known, fresh))
    # A single voice is its own mean; it is centred by that of the other side.
    known_mean, fresh_mean = known_mean if len(known) > 1 else fresh_mean, fresh_mean if len(fresh) > 1 else known_mean
    scores = np.zeros((len(old), len(new)))
    for row, first in enumerate(old):
        for column, second in enumerate(new):
            if first and second:
                scores[row, column] = np.mean((first.mean - known_mean) * (second.mean - fresh_mean) / scale**2)
    fit = best_order(scores)
    # Relative to the scores, so that the margin does not depend on their scale.
    return fit.order if fit.gap > SURE_GAP * max(float(np.abs(scores).sum()), 1e-12) else None


def dominant_speech(tracks: Float, rate: int) -> list[Float]:
    """For each track (N, S), the frames in which it is active and louder than all others, concatenated."""
    size = max(1, round(FRAME_SECONDS * rate))
    count = tracks.shape[1] // size
    frames = tracks[:, : count * size].reshape(len(tracks), count, size)
    levels = 10 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=2) + 1e-12)  # (N, T)
    pieces = []
    for track, level in enumerate(levels):
        others = np.delete(levels, track, axis=0).max(0, initial=-np.inf)
        floor = max(SILENT_DB, float(np.quantile(level, 0.95)) - RANGE_DB) if count else 0.0
        pieces.append(frames[track, (level > floor) & (level > others + DOMINANT_DB)].reshape(-1))
    return pieces


class VoiceMemory:
    """Keeps the last seconds in which each track dominated; voices are computed on demand.

    Args:
        tracks: N.
        rate: sample rate of the tracks in Hz.
        embed: speaker embedding of speech.
    """

    def __init__(self, tracks: int, rate: int, embed: Embed = embed_voice):
        self.rate, self.embed = rate, embed
        self._speech = [np.zeros(0, np.float32)] * tracks

    def remember(self, tracks: Float) -> None:
        """Add the dominant speech of each track (N, S)."""
        length = round(MEMORY_SECONDS * self.rate)
        self._speech = [
            np.concatenate([old, new])[-length:]
            for old, new in zip(self._speech, dominant_speech(tracks, self.rate), strict=True)
        ]

    def voices(self) -> list[Voice | None]:
        """The voice of each track; None if it has too little speech."""
        return [self.embed(speech, self.rate) for speech in self._speech]

    def order(self, estimates: Float) -> tuple[int, ...] | None:
        """The order of a window's estimates (N, W) by voice; None if it is not clear."""
        new = [self.embed(speech, self.rate) for speech in dominant_speech(estimates, self.rate)]
        return order_by_voice(self.voices(), new)


@cache
def _encoder() -> Any:
    from speechkit.encoders.load import load_encoder

    return load_encoder("embedded", layer=ENCODER_LAYER, device="cpu")
