"""Recordings with known sentence times for `calibrate_mining.py`, by how well the recogniser knows the reader.

``clean`` and ``noisy``: read by people that the recogniser was not trained on, noise 10 dB below the speech.
``trained``: readers of its training at a speed that training never used, which makes other voices of them, in noise.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulated_chapters import SAMPLE_RATE, Chapter, Spoken, as_written, chapters, record, sounding

JUDGES = ("84", "2428")
"""LibriSpeech readers that neither a recogniser nor a calibration is fitted on."""
SPEEDS = (0.78, 1.28)
TRAINED_SECONDS, VOICE_SECONDS, PART_SECONDS = 120.0, 480.0, 240.0

Recording = tuple[NDArray[np.float32], list[Spoken]]
"""Samples at 16 kHz, and the sentences with their times."""


@dataclass(frozen=True)
class Reading:
    """One recording by name, its reader and condition; ``load`` reads the audio and the sentences."""

    name: str
    reader: str
    condition: str
    load: Callable[[], Recording]


def readings(data: Path, voice: Path | None, unheard: Sequence[str] = ()) -> Iterator[Reading]:
    """All recordings.

    Args:
        data: folder with ``LibriSpeech/dev-clean`` and ``noise``.
        voice: manifest of a further reader that the recogniser was not trained on; eight minutes of it are used.
        unheard: LibriSpeech readers beside the judges that the recogniser was not trained on; without any, two minutes
            each of five others are taken at another speed.
    """
    noises = [path for path in sorted((data / "noise").rglob("*.*"))
              if path.suffix in {".wav", ".flac", ".ogg", ".opus", ".mp3"}]  # fmt: skip
    corpus = chapters(data / "LibriSpeech/dev-clean")
    for readers in (JUDGES, unheard):
        for number, chapter in enumerate(chapter for chapter in corpus if chapter.speaker in readers):
            yield Reading(chapter.name, chapter.speaker, "clean", functools.partial(record, chapter))
            if number % 2:
                noise = noises[number // 2 % len(noises)]
                load = functools.partial(in_noise, functools.partial(record, chapter), noise)
                yield Reading(f"{chapter.name}-noisy", chapter.speaker, "noisy", load)
    if voice:
        yield from of_manifest(voice)
    if unheard:
        return
    for number, reader in enumerate(sorted({chapter.speaker for chapter in corpus} - set(JUDGES))[::2]):
        chapter = next(chapter for chapter in corpus if chapter.speaker == reader)
        load = functools.partial(at_speed, chapter, SPEEDS[number % len(SPEEDS)])
        load = functools.partial(in_noise, load, noises[number % len(noises)])
        yield Reading(f"{chapter.name}-speed", reader, "trained", load)


def of_manifest(path: Path) -> Iterator[Reading]:
    """The first utterances of a manifest as recordings of four minutes."""
    from speechkit.data import read_manifest

    items: list[tuple[str, str, Path]] = []
    seconds = total = 0.0
    for row in read_manifest(path):
        if not row.text or not 2.0 <= row.duration <= 20.0:
            continue
        items.append((row.id, as_written(row.text.rstrip(".?!")), path.parent / row.audio_filepath))
        seconds += row.duration
        if seconds > PART_SECONDS:
            name = f"{row.speaker}-{total:.0f}"
            yield Reading(name, str(row.speaker), "clean", functools.partial(joined, name, items))
            items, total, seconds = [], total + seconds, 0.0
        if total >= VOICE_SECONDS:
            return


def joined(name: str, items: Sequence[tuple[str, str, Path]]) -> Recording:
    """Utterances one after the other, with pauses of 0.3 to 0.8 s."""
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
    return np.concatenate(pieces), spoken


def at_speed(chapter: Chapter, speed: float) -> Recording:
    """The first two minutes of a chapter with another speed, and with it another pitch, by resampling."""
    import soxr

    waveform, spoken = record(chapter)
    spoken = [item for item in spoken if item.end <= TRAINED_SECONDS]
    waveform = waveform[: round((spoken[-1].end + 0.2) * SAMPLE_RATE)]
    played = soxr.resample(waveform, SAMPLE_RATE * speed, SAMPLE_RATE).astype(np.float32)
    return played, [replace(item, start=item.start / speed, end=item.end / speed) for item in spoken]


def in_noise(load: Callable[[], Recording], noise: Path, decibels: float = 10.0) -> Recording:
    """A recording with noise, repeated to its length, at a signal-to-noise ratio over the whole of it."""
    from speechkit.io.audio import read_audio

    waveform, spoken = load()
    repeated = np.resize(read_audio(noise, sample_rate=SAMPLE_RATE), len(waveform))
    power = float(np.mean(waveform**2)) / max(float(np.mean(repeated**2)), 1e-12)
    mixed = waveform + repeated * np.float32(np.sqrt(power / 10 ** (decibels / 10)))
    return np.asarray(mixed / max(1.0, float(np.abs(mixed).max())), np.float32), spoken
