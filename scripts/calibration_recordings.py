"""Recordings with known sentence times for `calibrate_mining.py`, by how well the embedded recogniser knows the reader.

``unheard``: read by people that no training of the recogniser had: LibriSpeech 84 and 2428, clean, half of them also
with noise 10 dB below the speech, and the speaker of a manifest. ``heard``: other LibriSpeech readers at a speed that
training never used, which makes other voices of them, with the same noise.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulated_chapters import SAMPLE_RATE, Spoken, as_written, chapters, record, sounding

UNHEARD = ("84", "2428")
SPEEDS = (0.78, 1.28)


@dataclass(frozen=True)
class Reading:
    """One recording: what is said when, by whom, under which condition."""

    name: str
    reader: str
    condition: str
    spoken: list[Spoken]
    waveform: NDArray[np.float32]


def readings(data: Path, voice: Path | None, most_seconds: float = 120.0) -> Iterator[Reading]:
    """All recordings: of readers whom training knows ``most_seconds`` each at most, of a manifest eight minutes."""
    from speechkit.io.audio import read_audio

    hums = [read_audio(path, sample_rate=SAMPLE_RATE) for path in sorted((data / "noise").rglob("*.*"))
            if path.suffix in {".wav", ".flac", ".ogg", ".opus", ".mp3"}]  # fmt: skip
    found = chapters(data / "LibriSpeech/dev-clean")
    unheard = [chapter for chapter in found if chapter.speaker in UNHEARD]
    for number, chapter in enumerate(unheard):
        waveform, spoken = record(chapter)
        yield Reading(chapter.name, chapter.speaker, "clean", spoken, waveform)
        if number % 2:
            noise = hums[number // 2 % len(hums)]
            yield Reading(f"{chapter.name}-noisy", chapter.speaker, "noisy", spoken, noisy(waveform, noise))
    if voice:
        yield from manifest(voice, 480.0)
    heard = sorted({chapter.speaker for chapter in found} - set(UNHEARD))[::2]
    for number, speaker in enumerate(heard):
        chapter = next(chapter for chapter in found if chapter.speaker == speaker)
        waveform, spoken = record(chapter)
        spoken = [item for item in spoken if item.end <= most_seconds]
        waveform = waveform[: round((spoken[-1].end + 0.2) * SAMPLE_RATE)]
        waveform, spoken = at_speed(waveform, spoken, SPEEDS[number % len(SPEEDS)])
        noise = hums[number % len(hums)]
        yield Reading(f"{chapter.name}-speed", speaker, "heard", spoken, noisy(waveform, noise))


def manifest(path: Path, most_seconds: float) -> Iterator[Reading]:
    """The first utterances of a manifest as recordings of four minutes."""
    from speechkit.data import read_manifest

    items: list[tuple[str, str, Path]] = []
    seconds = total = 0.0
    for row in read_manifest(path):
        if not row.text or not 2.0 <= row.duration <= 20.0:
            continue
        items.append((row.id, as_written(row.text.rstrip(".?!")), path.parent / row.audio_filepath))
        seconds += row.duration
        if seconds > 240.0:
            yield _joined(f"{row.speaker}-{total:.0f}", str(row.speaker), "clean", items)
            items, total, seconds = [], total + seconds, 0.0
        if total >= most_seconds:
            return


def _joined(
    name: str,
    reader: str,
    condition: str,
    items: Sequence[tuple[str, str, Path]],
) -> Reading:
    """Concatenate utterances with pauses of 0.3 to 0.8 s."""
    from speechkit.io.audio import read_audio

    rng = random.Random(name)
    pieces: list[NDArray[np.float32]] = []
    spoken, cursor = [], 0
    for utterance, text, path in items:
        waveform = read_audio(path, sample_rate=SAMPLE_RATE)
        first, last = sounding(waveform)
        spoken.append(Spoken(utterance, text, (cursor + first) / SAMPLE_RATE, (cursor + last) / SAMPLE_RATE))
        pause = np.zeros(round(rng.uniform(0.3, 0.8) * SAMPLE_RATE), np.float32)
        pieces += [waveform, pause]
        cursor += len(waveform) + len(pause)
    return Reading(name, reader, condition, spoken, np.concatenate(pieces))


def at_speed(
    waveform: NDArray[np.float32], spoken: Sequence[Spoken], speed: float
) -> tuple[NDArray[np.float32], list[Spoken]]:
    """Change the speed, and with it the pitch, by resampling."""
    import soxr

    played = soxr.resample(waveform, SAMPLE_RATE * speed, SAMPLE_RATE).astype(np.float32)
    return played, [replace(item, start=item.start / speed, end=item.end / speed) for item in spoken]


def noisy(waveform: NDArray[np.float32], hum: NDArray[np.float32], decibels: float = 10.0) -> NDArray[np.float32]:
    """Add noise, repeated to the length, at a signal-to-noise ratio over the whole recording."""
    repeated = np.resize(hum, len(waveform))
    power = float(np.mean(waveform**2)) / max(float(np.mean(repeated**2)), 1e-12)
    mixed = waveform + repeated * np.float32(np.sqrt(power / 10 ** (decibels / 10)))
    return np.asarray(mixed / max(1.0, float(np.abs(mixed).max())), np.float32)
