"""Iterate over a manifest by recording, with one recording in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from speechkit.data import Utterance, read_manifest, recording_of
from speechkit.data.split import Split, Target, split_rows

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


def recordings(manifest: Manifest) -> Iterator[RecordingCuts]:
    """Each recording once, after its last utterance has been read.

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
            cuts.sort(key=lambda cut: (start_of(cut), cut.duration, cut.id))
            yield RecordingCuts(recording, cuts)


def start_of(utterance: Utterance) -> float:
    """Where the utterance starts, in seconds from the start of the recording; a clip remembers where it was cut."""
    cut_at = (utterance.custom or {}).get("recording_offset", 0.0)
    return utterance.offset + (cut_at if isinstance(cut_at, int | float) else 0.0)


def end_of(utterance: Utterance) -> float:
    """Where the utterance ends, in seconds from the start of the recording."""
    return start_of(utterance) + utterance.num_samples / utterance.sample_rate


def words_of(utterance: Utterance) -> list[Word]:
    """The word alignment with times from the start of the recording; empty where there is none."""
    items, at = (utterance.alignment or {}).get("word", []), start_of(utterance)
    return [Word(item.symbol, at + item.start, at + item.start + item.duration, item.score) for item in items]


DEFAULT_SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}


def split_without_leak(manifest: Manifest, shares: Mapping[str, float | Target] | None = None, seed: int = 0) -> Split:
    """Assign whole components to splits so that their audio comes near ``shares``; see `speechkit.data.split.assign`.

    A component is the set of utterances that are connected through a document, recording or speaker. Mined utterances
    may lack document and speaker; the notes of the split count them.

    Args:
        manifest: a manifest file or its utterances.
        shares: the share of each split, which add up to 1, or its target.
        seed: decides among components of similar size.

    Raises:
        UserError: if there are fewer components than splits, so that no split without a leak exists.
    """
    targets = {
        name: share if isinstance(share, Target) else Target(share=share)
        for name, share in (DEFAULT_SHARES if shares is None else shares).items()
    }
    return split_rows(
        utterances_of(manifest),
        targets,
        by=("recording", "document", "speaker"),
        optional=("document", "speaker"),
        seed=seed,
    )
