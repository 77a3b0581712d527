"""Long recordings with known sentence times, and documents that say more, less and other than what was spoken.

A recording is the utterances of one LibriSpeech chapter in id order. Its document is made from the transcripts: a share
of the spoken sentences is missing, runs of sentences of another chapter are inserted, every character may be damaged as
OCR does, and a running header with a page number stands between the lines.

The true time of an utterance is that of its sound, not of the silence that the corpus left around it: from the first
to the last 10 ms whose level is at most 35 dB under the utterance's 95th percentile and at least 12 dB over its 5th,
which is the reader's background noise. Sounds at the edges that last less than 80 ms (clicks) do not count.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16000
FRAME_SAMPLES = 160
LOOK_ALIKE = {
    "l": ("1", "i"), "i": ("l", "1"), "o": ("0", "c"), "e": ("c",), "c": ("e",), "s": ("5",), "h": ("b",), "n": ("u",),
    "m": ("rn",), "u": ("v",), "a": ("o",), "t": ("f",), "g": ("q",), "b": ("h",), "r": ("n",), "d": ("cl",),
}  # fmt: skip


@dataclass(frozen=True)
class Spoken:
    """A sentence that a recording holds, with the seconds of its first and last sound."""

    id: str
    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Written:
    """A sentence of a document; ``spoken`` is the index of what was said, None for text that nobody read."""

    text: str
    spoken: int | None


@dataclass(frozen=True)
class Chapter:
    """A chapter of the corpus; the speaker is the first number of its name."""

    folder: Path

    @property
    def name(self) -> str:
        """Speaker and chapter."""
        return f"{self.folder.parent.name}-{self.folder.name}"

    @property
    def speaker(self) -> str:
        """The reader."""
        return self.folder.parent.name

    def texts(self) -> dict[str, str]:
        """Utterance id to transcript, as a written sentence."""
        lines = (self.folder / f"{self.name}.trans.txt").read_text().splitlines()
        return {name: as_written(text) for name, text in (line.split(" ", 1) for line in lines if line.strip())}


def as_written(transcript: str) -> str:
    """Capitals only where a sentence begins and a full stop where it ends, as a document has them."""
    text = transcript.strip().lower()
    return text[:1].upper() + text[1:] + "."


def chapters(corpus: Path) -> list[Chapter]:
    """The chapters of a LibriSpeech folder, in order."""
    return [Chapter(path.parent) for path in sorted(corpus.glob("*/*/*.trans.txt"))]


def record(chapter: Chapter) -> tuple[NDArray[np.float32], list[Spoken]]:
    """The chapter as one waveform at 16 kHz, and what it says when."""
    from speechkit.io.audio import read_audio

    pieces: list[NDArray[np.float32]] = []
    spoken: list[Spoken] = []
    cursor = 0
    for name, text in chapter.texts().items():
        path = next(
            path for suffix in ("flac", "mp3", "wav") if (path := chapter.folder / f"{name}.{suffix}").is_file()
        )
        waveform = read_audio(path, sample_rate=SAMPLE_RATE)
        first, last = sounding(waveform)
        spoken.append(Spoken(name, text, (cursor + first) / SAMPLE_RATE, (cursor + last) / SAMPLE_RATE))
        pieces.append(waveform)
        cursor += len(waveform)
    return np.concatenate(pieces), spoken


def joined(parts: Sequence[tuple[NDArray[np.float32], list[Spoken]]]) -> tuple[NDArray[np.float32], list[Spoken]]:
    """Several recordings one after the other."""
    cursor = 0.0
    spoken: list[Spoken] = []
    for waveform, said in parts:
        spoken += [replace(item, start=item.start + cursor, end=item.end + cursor) for item in said]
        cursor += len(waveform) / SAMPLE_RATE
    return np.concatenate([waveform for waveform, _ in parts]), spoken


def sounding(
    waveform: NDArray[np.float32], below_decibels: float = 35.0, above_floor_decibels: float = 12.0
) -> tuple[int, int]:
    """First sample and one past the last of the 10 ms frames that are loud enough to be speech."""
    count = len(waveform) // FRAME_SAMPLES
    frames = waveform[: count * FRAME_SAMPLES].reshape(count, FRAME_SAMPLES)
    level = 10 * np.log10(np.maximum(np.square(frames).mean(axis=1), 1e-10))
    floor, top = np.percentile(level, [5, 95])
    loud = level > min(max(top - below_decibels, floor + above_floor_decibels), top - 6)
    edges = np.diff(np.concatenate([[0], loud.astype(np.int8), [0]]))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    lasting = ends - begins >= 8
    if lasting.any():
        begins, ends = begins[lasting], ends[lasting]
    return int(begins[0]) * FRAME_SAMPLES, int(ends[-1]) * FRAME_SAMPLES


def ocr_noise(text: str, rate: float, rng: random.Random) -> str:
    """Damage ``rate`` of the characters: 60 % look-alikes, 20 % lost, 20 % doubled or with dirt behind them."""
    result = []
    for character in text:
        if rng.random() >= rate:
            result.append(character)
            continue
        kind = rng.random()
        if kind < 0.6:
            result.append(rng.choice(LOOK_ALIKE.get(character.lower(), ("e", "a", "t"))))
        elif kind >= 0.8:
            result.append(character + rng.choice((character, "'", ",", "i")))
    return "".join(result)


def damaged_document(
    spoken: Sequence[Spoken],
    unread: Sequence[str],
    rng: random.Random,
    *,
    ocr: float = 0.05,
    extraneous: float = 0.30,
    missing: float = 0.20,
) -> list[Written]:
    """The sentences of a document that goes with a recording.

    Args:
        spoken: what was said.
        unread: sentences of another text, in its order.
        rng: random numbers.
        ocr: share of damaged characters.
        extraneous: share of the document's sentences that nobody read, in runs of one to five.
        missing: share of the spoken sentences that the document lacks, in runs of one to three.
    """
    absent: set[int] = set()
    while len(absent) < round(missing * len(spoken)):
        begin, length = rng.randrange(len(spoken)), rng.randint(1, 3)
        for index in range(begin, min(begin + length, len(spoken))):
            if len(absent) < round(missing * len(spoken)):
                absent.add(index)
    document = [Written(item.text, index) for index, item in enumerate(spoken) if index not in absent]
    wanted = round(extraneous / (1 - extraneous) * len(document))
    runs: list[list[str]] = []
    cursor = 0
    while wanted > 0 and cursor < len(unread):
        length = min(rng.randint(1, 5), wanted, len(unread) - cursor)
        runs.append(list(unread[cursor : cursor + length]))
        cursor += length
        wanted -= length
    places = sorted((rng.randint(0, len(document)) for _ in runs), reverse=True)
    for place, run in zip(places, runs, strict=True):
        document[place:place] = [Written(text, None) for text in run]
    return [Written(ocr_noise(item.text, ocr, rng), item.spoken) for item in document]


def as_text(document: Sequence[Written], title: str, lines_a_page: int = 12) -> str:
    """The document as a plain text file: a paragraph a sentence, pages by form feed, a running header, a number."""
    pages = [document[begin : begin + lines_a_page] for begin in range(0, len(document), lines_a_page)]
    return "\f".join(
        f"{title}\n\n" + "\n\n".join(item.text for item in page) + f"\n\n{number}\n"
        for number, page in enumerate(pages, 1)
    )
