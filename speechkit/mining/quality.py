"""Sound quality of a sentence: noise, bandwidth, clipping and speaking rate, measured on the recording itself."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.io.arrays import Float, true_runs

FRAME_SECONDS = 0.02
CONTEXT_SECONDS = 0.5
"""Heard before and after a sentence, so that its pauses are there to measure the noise in."""
NOISE_PERCENTILE = 10.0
BAND_DECIBELS = -50.0
"""Below the strongest part of the mean spectrum: what is weaker at all higher frequencies is outside the band."""
SPECTRUM_SECONDS = 0.064
CLIPPED_RUN = 3
"""Shortest run of samples at the largest value that is clipped; a sound wave touches it once."""
MOST_DECIBELS = 100.0


class SoundQuality(msgspec.Struct, frozen=True, omit_defaults=True):
    """Quality columns of a sentence.

    Attributes:
        snr_db: of the speech over the quiet tenth of the sentence and half a second around it, an estimate.
        bandwidth_hz: highest frequency that is not 50 dB under the strongest, in the mean spectrum.
        clipped: share of the samples that are cut off at the largest value.
        characters_per_second: letters and digits of the text in a second.
        dnsmos: predicted opinion of the whole, 1 to 5, where it was asked for.
        voice: cosine of its speaker embedding and the mean of the recording's other sentences, -1 to 1, where it was
            asked for: low where another person speaks, or a second one at the same time.
    """

    snr_db: float
    bandwidth_hz: float
    clipped: float
    characters_per_second: float
    dnsmos: float | None = None
    voice: float | None = None

    def columns(self) -> dict[str, Any]:
        """By name, without those that were not measured."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


def sound_quality(sentence: Float, around: Float, sample_rate: int, text: str) -> SoundQuality:
    """Measure a sentence (samples,) and the stretch (samples,) that holds it and what lies around it.

    Raises:
        ValueError: if the sentence has no samples.
    """
    if not len(sentence):
        raise ValueError("the sentence has no samples")
    return SoundQuality(
        snr_db=round(snr_decibels(sentence, around, sample_rate), 1),
        bandwidth_hz=round(bandwidth_hertz(sentence, sample_rate)),
        clipped=round(clipped_share(sentence), 6),
        characters_per_second=pace(text, len(sentence) / sample_rate),
    )


def pace(text: str, seconds: float) -> float:
    """Letters and digits of the text in a second."""
    return round(sum(map(str.isalnum, text)) / seconds, 2)


def snr_decibels(sentence: Float, around: Float, sample_rate: int) -> float:
    """Power of the sentence over that of the quiet tenth of what is around it, in decibels, 0 to 100.

    It is underestimated where there are no pauses, and does not capture noise that occurs only with speech (codecs,
    rooms).
    """
    frame = max(1, round(FRAME_SECONDS * sample_rate))
    noise = float(np.percentile(_powers(around, frame), NOISE_PERCENTILE))
    whole = float(np.mean(np.square(sentence, dtype=np.float64)))
    speech = max(whole - noise, 1e-12)
    return float(np.clip(10 * np.log10(speech / max(noise, 1e-12)), 0.0, MOST_DECIBELS))


def bandwidth_hertz(sentence: Float, sample_rate: int) -> float:
    """The highest frequency whose mean power is less than 50 dB under the strongest; 0 for silence."""
    size = max(16, round(SPECTRUM_SECONDS * sample_rate))
    padded = np.pad(sentence, (0, max(0, size - len(sentence))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 2]
    spectrum = np.square(np.abs(np.fft.rfft(frames * np.hanning(size), axis=1))).mean(0)
    strongest = float(spectrum.max())
    if strongest <= 0:
        return 0.0
    inside = np.flatnonzero(spectrum >= strongest * 10 ** (BAND_DECIBELS / 10))
    return float(inside[-1] * sample_rate / size)


def clipped_share(sentence: Float) -> float:
    """Share of the samples in runs of at least three at the largest value of the sentence.

    `speechkit.data.listening.clipped_samples` asks for equal samples and a steep entry, since it warns about whole
    corpora; a column that sentences are filtered by also counts tops that a codec or a low tone has rounded.
    """
    top = float(np.abs(sentence).max()) if len(sentence) else 0.0
    if top < 0.05:
        return 0.0
    begins, ends = true_runs(np.abs(sentence) >= 0.999 * top).T
    lengths = ends - begins
    return float(lengths[lengths >= CLIPPED_RUN].sum() / len(sentence))


def _powers(samples: Float, frame: int) -> NDArray[np.float64]:
    """Mean power of each whole frame; of the one there is if the samples are fewer."""
    count = len(samples) // frame
    if not count:
        return np.array([np.mean(np.square(samples, dtype=np.float64))])
    power: NDArray[np.float64] = np.square(samples[: count * frame].reshape(count, frame), dtype=np.float64).mean(1)
    return power
