"""A manifest seen recording by recording, with no more than one of them in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from speechkit.data import Utterance, read_manifest
from speechkit.io.paths import safe_id

Manifest = Path | str | Sequence[Utterance]


class Word(NamedTuple):
    """A word with its time in seconds from the start of the recording."""

    text: str
    start: float
    end: float
    score: float | None


class RecordingCuts(NamedTuple):
    """The utterances of one recording, in the order of their start."""

    id: str
    utterances: list[Utterance]


def utterances_of(manifest: Manifest) -> Iterable[Utterance]:
    """The utterances of a manifest file (streamed) or of a sequence."""
    return read_manifest(manifest, Utterance) if isinstance(manifest, Path | str) else manifest


def recording_of(utterance: Utterance) -> str:
    """The recording's id: ``custom["recording"]`` where it is given, else the audio path without its suffix."""
    named = (utterance.custom or {}).get("recording")
    if isinstance(named, str) and named:
        return safe_id(named)
    return safe_id(str(PurePosixPath(utterance.audio_filepath).with_suffix("")))


def recordings(manifest: Manifest) -> Iterator[RecordingCuts]:
    """Every recording once, when its last utterance has been read.

    Memory: one recording where the manifest has them one after another, as mined manifests do; where they are mixed,
    the recordings that are open at the same time.
    """
    left = Counter(recording_of(utterance) for utterance in utterances_of(manifest))
    collected: dict[str, list[Utterance]] = {}
    for utterance in utterances_of(manifest):
        recording = recording_of(utterance)
        collected.setdefault(recording, []).append(utterance)
        left[recording] -= 1
        if left[recording] == 0:
            cuts = collected.pop(recording)
            cuts.sort(key=lambda cut: (cut.offset, cut.duration, cut.id))
            yield RecordingCuts(recording, cuts)


def end_of(utterance: Utterance) -> float:
    """Where the utterance ends, in seconds from the start of the recording."""
    return (utterance.offset_samples + utterance.num_samples) / utterance.sample_rate


def words_of(utterance: Utterance) -> list[Word]:
    """The word alignment with times from the start of the recording; empty where there is none."""
    items = (utterance.alignment or {}).get("word", [])
    return [
        Word(item.symbol, utterance.offset + item.start, utterance.offset + item.start + item.duration, item.score)
        for item in items
    ]
