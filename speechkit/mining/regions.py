"""Where a recording holds speech, found in one streamed pass that also keeps its loudness for later boundaries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from speechkit.io.arrays import Float, true_runs
from speechkit.mining.config import RegionsConfig
from speechkit.mining.voice_activity import FRAME_SAMPLES, SAMPLE_RATE, SileroDetector

Regions = list[tuple[int, int]]

ENERGY_HOP_SAMPLES = 160
SILENT_DECIBELS = -100.0
_QUIETEST_SPEECH_DECIBELS = -65.0


def find_speech(
    path: Path | str,
    config: RegionsConfig,
    detector: SileroDetector | None = None,
    *,
    channel: int | None = None,
    advance: Callable[[float], None] = lambda seconds: None,
) -> tuple[Regions, Float]:
    """Speech regions of one recording in 16 kHz samples, and its loudness every 10 ms in decibels.

    Memory does not grow with the recording but for 4 bytes every 10 ms. ``channel`` goes before that of ``config``;
    ``advance`` is called with the seconds of audio read since the last call.

    Raises:
        AudioError: if the file is missing, empty, truncated, not finite or not audio.
    """
    from speechkit.io.audio import stream_audio

    if channel is None and config.channel >= 0:
        channel = config.channel
    blocks = stream_audio(path, sample_rate=SAMPLE_RATE, block_seconds=20.0, channel=channel)
    return speech_in(blocks, config, detector, advance=advance)


def speech_in(
    blocks: Iterable[Float],
    config: RegionsConfig,
    detector: SileroDetector | None = None,
    *,
    advance: Callable[[float], None] = lambda seconds: None,
) -> tuple[Regions, Float]:
    """As `find_speech`, of a recording's blocks at 16 kHz.

    Raises:
        AudioError: whatever the blocks raise.
    """
    energies: list[Float] = []
    blocks = _watched(blocks, energies, advance)
    frame_speech: list[Float] = []
    if config.vad == "silero":
        frame_speech = list((detector or SileroDetector()).probabilities(blocks))
    else:
        for _ in blocks:
            pass
    levels = np.concatenate(energies) if energies else np.zeros(0, np.float32)
    num_samples = sum(len(part) for part in energies) * ENERGY_HOP_SAMPLES
    if config.vad == "none":
        return ([(0, num_samples)] if num_samples else []), levels
    if config.vad == "energy":
        probabilities, hop = energy_probabilities(levels), ENERGY_HOP_SAMPLES
    else:
        probabilities = np.concatenate(frame_speech) if frame_speech else np.zeros(0, np.float32)
        hop = FRAME_SAMPLES
    return regions_of(probabilities, hop, num_samples, config), levels


def _watched(blocks: Iterable[Float], energies: list[Float], advance: Callable[[float], None]) -> Iterator[Float]:
    """Pass blocks on while noting the mean power of every 10 ms in decibels; only the last may be incomplete."""
    held = np.zeros(0, np.float32)
    for block in blocks:
        yield block
        advance(len(block) / SAMPLE_RATE)
        held = np.concatenate([held, block])
        whole = len(held) // ENERGY_HOP_SAMPLES * ENERGY_HOP_SAMPLES
        energies.append(_decibels(held[:whole]))
        held = held[whole:]
    if len(held):
        energies.append(_decibels(np.pad(held, (0, ENERGY_HOP_SAMPLES - len(held)))))


def _decibels(samples: Float) -> Float:
    frames = samples.reshape(-1, ENERGY_HOP_SAMPLES)
    power = np.einsum("ts,ts->t", frames, frames) / ENERGY_HOP_SAMPLES
    level: Float = (10 * np.log10(np.maximum(power, 1e-10))).astype(np.float32)
    return level


def energy_probabilities(levels: Float) -> Float:
    """A speech score of 0 to 1 for each 10 ms from its loudness over the recording's own noise floor.

    The floor is the 10th percentile of the frames that are not digital silence; 0.5 lies a third of the way from the
    floor to the loud frames (95th percentile), at least 6 dB over the floor.
    """
    audible = levels[levels > SILENT_DECIBELS + 1]
    if not len(audible) or float(np.percentile(audible, 95)) < _QUIETEST_SPEECH_DECIBELS:
        return np.zeros(len(levels), np.float32)
    floor, loud = np.percentile(audible, [10, 95])
    floor = max(float(floor), float(loud) - 50)
    border = floor + max(6.0, (float(loud) - floor) / 3)
    if float(loud) - floor < 6:  # steady loudness: there is no pause to measure the noise in
        border = floor - 6
    smooth = np.convolve(levels, np.ones(5, np.float32) / 5, mode="same") if len(levels) >= 5 else levels
    score: Float = (1 / (1 + np.exp(-(smooth - border) / 2))).astype(np.float32)
    return score


def regions_of(probabilities: Float, hop: int, num_samples: int, config: RegionsConfig) -> Regions:
    """Join frames into regions: (start, end) in samples, ordered, disjoint, inside the recording.

    A region begins at ``threshold`` and lasts until the probability falls 0.15 under it. Pauses shorter than
    ``min_silence_seconds`` do not end it, regions shorter than ``min_speech_seconds`` are left out, and each is
    widened by ``pad_seconds``; those that then touch are joined.
    """
    above = probabilities >= config.threshold
    low = probabilities >= max(config.threshold - 0.15, 0.01)
    begins, ends = true_runs(low).T
    passed = np.concatenate([[0], np.cumsum(above)])
    spoken = passed[ends] > passed[begins]
    joined: Regions = []
    silence = round(config.min_silence_seconds * SAMPLE_RATE)
    for begin, end in zip((begins[spoken] * hop).tolist(), (ends[spoken] * hop).tolist(), strict=True):
        if joined and begin - joined[-1][1] < silence:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    shortest, pad = round(config.min_speech_seconds * SAMPLE_RATE), round(config.pad_seconds * SAMPLE_RATE)
    padded: Regions = []
    for begin, end in joined:
        if end - begin < shortest:
            continue
        begin, end = max(0, begin - pad), min(num_samples, end + pad)
        if begin >= end:
            continue
        if padded and begin <= padded[-1][1]:
            padded[-1] = (padded[-1][0], max(end, padded[-1][1]))
        else:
            padded.append((begin, end))
    return padded
