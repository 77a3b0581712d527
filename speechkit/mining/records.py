"""Records exchanged between mining stages, one JSON line each."""

from __future__ import annotations

from typing import Literal

import msgspec

RejectReason = Literal[
    "not_found",  # no place in any paired recording resembles the sentence
    "low_confidence",  # found, but its probability is below the threshold
    "overlaps_better",  # another sentence with a higher probability claims the same audio
    "too_short",  # fewer characters or less audio than the configuration asks for
    "too_long",  # longer audio than the configuration asks for
    "edge_word_lost",  # its first or last word could not be aligned
    "unread_words",  # words inside it were not spoken
    "stretched_word",  # one of its words is implausibly long
    "no_speech_characters",  # nothing in the sentence can be spoken, for example a table rule
    "no_recording",  # the document was paired with no recording
    "curator",  # a person listened and said no
]
UnmatchedReason = Literal[
    "silence",  # the voice activity detector found no speech
    "untranscribed",  # speech that no sentence of the paired documents covers
    "rejected_sentence",  # a sentence was found here and rejected
    "no_document",  # the recording was paired with no document
]


class Page(msgspec.Struct, frozen=True):
    """Characters ``begin`` to ``end`` of the document's text stand on this 1-based page."""

    number: int
    begin: int
    end: int


class Removed(msgspec.Struct, frozen=True):
    """A line that was taken out of the text, and why: nothing is dropped silently."""

    page: int
    text: str
    reason: Literal["header", "footer", "page_number", "navigation", "note_mark"]


class Sentence(msgspec.Struct, frozen=True, omit_defaults=True):
    """``document.text[begin:end]`` is ``text``; the id is ``<document>-<index padded to 5>``."""

    id: str
    index: int
    text: str
    begin: int
    end: int
    page: int = 1


class Document(msgspec.Struct, frozen=True, omit_defaults=True):
    """A document as clean text with its sentences; ``id`` is unique in the run, ``path`` relative to its folder."""

    id: str
    path: str
    kind: str  # pdf, scan, image, html, markdown, docx, epub, text, subtitles
    lang: str
    text: str
    pages: list[Page]
    sentences: list[Sentence]
    removed: list[Removed] = []
    warnings: list[str] = []  # what was uncertain: a guessed encoding, an unreadable page, another language


class SourceFile(msgspec.Struct, frozen=True):
    """An input file: ``path`` relative to its folder, with the digest of its bytes.

    ``channel`` is the one that is a recording of its own, from 0; None takes the mean of all.
    """

    id: str
    path: str
    digest: str
    size_bytes: int
    channel: int | None = None


class Recording(msgspec.Struct, frozen=True, omit_defaults=True):
    """A recording and where it holds speech; ``speech`` is (start, end) in 16 kHz samples, ordered, disjoint.

    ``features`` refers to the array ``levels``: its loudness every 10 ms in decibels. ``channel`` is the one that was
    mined, from 0; None is the mean of all.
    """

    id: str
    audio_filepath: str
    sample_rate: int
    num_samples: int
    channels: int
    speech: list[tuple[int, int]]
    features: str | None = None
    channel: int | None = None

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.num_samples / self.sample_rate


class RecognizedText(msgspec.Struct, frozen=True, omit_defaults=True):
    """Recogniser output for a recording.

    ``features`` refers to the arrays ``starts`` and ``ends`` (float64 seconds, one a character), ``scores`` and, for
    CTC recognisers, ``log_probs`` (T, V) float16 with ``hop_seconds``, ``vocabulary`` and ``blank``.
    """

    recording: str
    text: str
    recognizer: str
    features: str | None = None
    hop_seconds: float | None = None
    vocabulary: list[str] | None = None
    blank: int | None = None


class Pair(msgspec.Struct, frozen=True):
    """A document that a recording may read, with how well it fits and how much better than the next document."""

    recording: str
    document: str
    score: float
    margin: float


class WordTime(msgspec.Struct, frozen=True, array_like=True):
    """A word of the sentence as written, seconds from the start of the recording, mean log-probability a frame."""

    word: str
    start: float
    end: float
    score: float


class Correction(msgspec.Struct, frozen=True, array_like=True):
    """A word of a sentence, by its number, and the spelling that the emissions support.

    ``times`` are the start and end, in seconds in the recording, of each word of a spelling of several words.
    """

    word: int
    spelling: str
    times: list[tuple[float, float]] = []


class SentenceMatch(msgspec.Struct, frozen=True, omit_defaults=True):
    """A sentence's place in a recording and the evidence for it.

    ``start`` and ``end`` are seconds in the recording. ``similarity`` is 1 - edits / characters (0 to 1);
    ``edge_cer`` the error rate of the first and last five characters; ``margin`` is ``similarity`` less that of the
    second-best place; ``ctc_mean`` and ``ctc_worst`` are log-probabilities a frame (absent without emissions).
    ``lost_before`` and ``lost_after`` are written words at the edges that have no time, so that the stretch does not
    hold them, and ``lost_characters`` the length of the longest of them. ``character_errors`` is an estimate of the
    share of wrong characters in the text after ``corrections`` (absent without emissions).
    """

    sentence: str
    recording: str
    document: str
    start: float
    end: float
    similarity: float
    edge_cer: float
    margin: float
    characters_per_second: float
    ctc_mean: float | None = None
    ctc_worst: float | None = None
    words: list[WordTime] = []
    probability: float | None = None
    lost_before: int = 0
    lost_after: int = 0
    lost_characters: int = 0
    corrections: list[Correction] = []
    character_errors: float | None = None


class Gap(msgspec.Struct, frozen=True):
    """A stretch that only one side has: text that was not read, or speech that was not written down."""

    kind: Literal["unread", "untranscribed"]
    document_begin: int
    document_end: int
    start: float
    end: float


class PairAlignment(msgspec.Struct, frozen=True):
    """One recording against one document: the path for the picture, the gaps, and a match for each found sentence.

    ``warnings`` are sentences for the user about work that could not be done.
    """

    recording: str
    document: str
    path: list[tuple[int, float]]  # (character of the document, seconds in the recording)
    gaps: list[Gap]
    matches: list[SentenceMatch]
    warnings: list[str] = []


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """Outcome of one sentence: kept, or rejected for a reason; ``match`` is absent if it was never found.

    Every sentence of every document has one. A sentence that is kept in several recordings shows its best match.
    """

    sentence: str
    document: str
    text: str
    begin: int
    end: int
    kept: bool
    page: int = 1
    reason: RejectReason | None = None
    match: SentenceMatch | None = None


class UnmatchedStretch(msgspec.Struct, frozen=True):
    """Audio that no kept sentence covers, from ``start`` to ``end`` seconds, and why."""

    recording: str
    start: float
    end: float
    reason: UnmatchedReason


class SelectionSummary(msgspec.Struct, frozen=True):
    """What selection did: the probability asked of each sentence, the precision expected of what is kept, and sums.

    ``run`` is the digest of the places that were found: what a curator decides about one run holds for it alone.
    ``warnings`` are those of the alignments, each once.
    """

    threshold: float
    min_precision: float
    expected_precision: float | None
    kept: int
    kept_seconds: float
    rejected: dict[str, int]
    unmatched_seconds: dict[str, float]
    audio_seconds: float
    run: str = ""
    warnings: list[str] = []
