"""Random augmentation of waveforms and features. Torch-free; torchaudio's masks would need torch in data loaders.

Source: Ko et al. 2015 (speed), Ko et al. 2017 (simulated rooms), Park et al. 2019 (SpecAugment).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.io.arrays import Float

SILENT_POWER = 1e-10
"""Mean square below which audio counts as silent; rounding to 16 bits alone has 8e-11."""


class AugmentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Probabilities and strengths of augmentation. Masks are drawn per utterance, widths in 10 ms frames."""

    speed: float = 0.5
    speed_range: tuple[float, float] = (0.88, 1.12)
    room: float = 0.1
    noise: float = 0.2
    noise_db: tuple[float, float] = (8.0, 30.0)
    gain_db: tuple[float, float] = (-20.0, 0.0)
    frequency_masks: int = 2
    frequency_width: int = 12
    time_mask_every: int = 600
    time_width: int = 20


NO_AUGMENTATION = AugmentConfig(speed=0, room=0, noise=0, gain_db=(0.0, 0.0), frequency_masks=0, time_width=0)


def change_speed(waveform: Float, factor: float) -> Float:
    """Play ``factor`` times as fast; pitch moves along."""
    import soxr

    return np.asarray(soxr.resample(waveform, 16_000 * factor, 16_000, quality="LQ"), np.float32)


def room_response(generator: np.random.Generator, sample_rate: int = 16_000) -> Float:
    """A simulated impulse response: the direct sound, then exponentially decaying noise (60 dB in 0.08 to 0.5 s)."""
    length = int(generator.uniform(0.08, 0.5) * sample_rate)
    decay = np.exp(-6.9 * np.arange(length) / length)
    response = generator.standard_normal(length) * decay * generator.uniform(0.02, 0.12)
    response[0] = 1.0
    return np.asarray(response / np.sqrt(np.sum(response**2)), np.float32)


def fit_noise(waveform: Float, noise: Float, snr_db: float) -> Float:
    """Noise, repeated to the waveform's length, scaled to a signal-to-noise ratio in decibels."""
    fitted = np.resize(noise, len(waveform))
    power, noise_power = float(np.mean(waveform**2)), float(np.mean(fitted**2))
    scale = np.sqrt(power / max(noise_power, 1e-12)) * 10 ** (-snr_db / 20)
    return np.asarray(np.float32(scale) * fitted, np.float32)


def add_noise(waveform: Float, noise: Float, snr_db: float) -> Float:
    """Mix noise, repeated to the waveform's length, at a signal-to-noise ratio in decibels."""
    return np.asarray(waveform + fit_noise(waveform, noise, snr_db), np.float32)


def is_silent(noise: NDArray[np.floating[Any]]) -> bool:
    """Whether a noise (S,) cannot be mixed in: no samples, no measurable power, NaN or infinity."""
    return not len(noise) or not SILENT_POWER <= float(np.dot(noise, noise)) / len(noise) < np.inf


def audible_segment(noise: Float, length: int, generator: np.random.Generator) -> Float:
    """A random audible part of a noise, at most ``length`` samples, wrapping around its end.

    If the first draw is silent, another is drawn among the audible parts.
    """
    length = min(length, len(noise))
    begin = int(generator.integers(len(noise)))
    stretch = np.roll(noise, -begin)[:length]
    if not is_silent(stretch):
        return stretch
    sums = np.cumsum(np.concatenate([[0.0], np.square(np.concatenate([noise, noise[:length]]), dtype=np.float64)]))
    powers = (sums[length:-1] - sums[: -length - 1]) / length
    # The mean power of all parts is that of the whole, so at least one part is audible.
    audible = np.flatnonzero(powers >= min(SILENT_POWER, float(powers.max())))
    return np.roll(noise, -int(audible[generator.integers(len(audible))]))[:length]


def augment_waveform(
    waveform: Float, config: AugmentConfig, generator: np.random.Generator, noises: Sequence[Float] = ()
) -> Float:
    """Apply speed, room, noise and gain, each with its probability; noise is one of ``noises`` or white."""
    if not len(waveform):
        return waveform
    if generator.random() < config.speed:
        waveform = change_speed(waveform, generator.uniform(*config.speed_range))
    if generator.random() < config.room:
        from scipy.signal import fftconvolve

        waveform = np.asarray(fftconvolve(waveform, room_response(generator))[: len(waveform)], np.float32)
    if generator.random() < config.noise:
        recorded = len(noises) and generator.random() < 0.6
        noise = noises[int(generator.integers(len(noises)))] if recorded else generator.standard_normal(len(waveform))
        noise = audible_segment(np.asarray(noise, np.float32), len(waveform), generator)
        waveform = add_noise(waveform, noise, generator.uniform(*config.noise_db))
    if config.gain_db != (0.0, 0.0):
        loudness = 10 ** (generator.uniform(*config.gain_db) / 20)
        scale = np.float32(loudness / max(float(np.abs(waveform).max()), 1e-3))
        waveform = np.asarray(waveform * scale, np.float32)
    return waveform


def mask_features(features: Float, config: AugmentConfig, generator: np.random.Generator) -> Float:
    """SpecAugment: (M, C) with random bands and stretches set to the mean; the input is not changed."""
    frames, channels = features.shape
    masked: Float = features.copy()
    fill = np.float32(features.mean()) if features.size else np.float32(0)
    for _ in range(config.frequency_masks):
        width = int(generator.integers(0, min(config.frequency_width, channels) + 1))
        begin = int(generator.integers(0, channels - width + 1))
        masked[:, begin : begin + width] = fill
    for _ in range(-(-frames // config.time_mask_every) if config.time_width else 0):
        width = int(generator.integers(0, min(config.time_width, frames) + 1))
        begin = int(generator.integers(0, frames - width + 1))
        masked[begin : begin + width] = fill
    return np.asarray(masked, np.float32)
