"""Data of the mining page, and the records that it is computed from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data import Utterance
from speechkit.mining.export.sound import SentenceQuality
from speechkit.mining.records import Gap, Outcome, PairAlignment, Recording, SelectionSummary

SPEECH_RATE = 16000  # `Recording.speech` counts 16 kHz samples


class View(msgspec.Struct, frozen=True):
    """A recording aligned with a document: the data of its alignment plot."""

    recording: Recording
    document: str
    characters: int
    path: list[tuple[int, float]]
    gaps: list[Gap]
    outcomes: list[Outcome]


class RecordingRow(msgspec.Struct, frozen=True):
    """A row of the table of recordings; times in seconds."""

    recording: str
    documents: list[str]
    seconds: float
    speech_seconds: float
    kept_seconds: float
    kept: int
    rejected: int


class SentenceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the list of sentences. ``id`` is that of the manifest, empty if it was not located in the audio.

    ``reason`` is "kept", or why it was rejected; times are seconds in the recording; ``heard`` is the recogniser's
    output for that segment; ``quality`` are its quality columns as in the manifest, as far as they were measured.
    """

    id: str
    sentence: str
    recording: str
    document: str
    page: int
    begin: int
    text: str
    reason: str
    start: float = 0.0
    seconds: float = 0.0
    probability: float | None = None
    similarity: float | None = None
    heard: str = ""
    quality: dict[str, float] = {}


class PrecisionPoint(msgspec.Struct, frozen=True):
    """Effect of a threshold: mean probability, seconds and number of sentences at or above it."""

    threshold: float
    precision: float
    seconds: float
    sentences: int


class MiningReport(msgspec.Struct, frozen=True, kw_only=True):
    """All data of the page. Times are in seconds, text lengths in characters."""

    title: str
    lang: str
    audio_seconds: dict[str, float]  # kept, rejected_sentence, untranscribed, no_document, silence
    text_characters: dict[str, int]  # kept and every rejection reason
    sentences: dict[str, int]  # the same, counted in sentences
    kept_utterances: int
    kept_scores: list[int]  # SCORE_BINS counts of probabilities from 0 to 1
    rejected_scores: list[int]
    sentence_rows: list[SentenceRow]
    run: str  # identifies the curator's decisions made on the page
    kept_pace: list[int]
    expected_precision: float | None
    threshold: float | None
    min_precision: float | None
    best: list[Outcome]
    worst: list[Outcome]
    borderline: list[Outcome]
    views: list[View]
    rows: list[RecordingRow]
    audio_root: str
    recordings: list[Recording]  # those with a sentence; their paths are relative to audio_root
    seconds_taken: float | None = None
    config: dict[str, object] = {}
    versions: dict[str, str] = {}
    commands: list[str] = []


@dataclass(frozen=True)
class RecognisedTimes:
    """Recognised text of a recording, with character times in seconds, float64 (len(text),)."""

    recording: str
    text: str
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]


def no_quality() -> Iterable[SentenceQuality]:
    """Of a run in which no quality was measured."""
    return ()


class Records(msgspec.Struct, frozen=True):
    """Results of the stages, each as a function that returns a new iterator over its records."""

    recordings: Callable[[], Iterable[Recording]]
    alignments: Callable[[], Iterable[PairAlignment]]
    outcomes: Callable[[], Iterable[Outcome]]
    utterances: Callable[[], Iterable[Utterance]]
    candidates: Callable[[], Iterable[Utterance]]
    heard: Callable[[], Iterable[RecognisedTimes]]
    summary: SelectionSummary
    quality: Callable[[], Iterable[SentenceQuality]] = no_quality
