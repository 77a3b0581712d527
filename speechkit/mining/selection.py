"""Selection of matches: overlap resolution, a threshold from the target precision, a reason for every rejection."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from speechkit.data.records import AlignmentItem, Source, Utterance
from speechkit.mining.confidence import threshold_for, unheard_share
from speechkit.mining.config import SelectionConfig
from speechkit.mining.correction import corrected, without_lost
from speechkit.mining.records import (
    Document,
    Outcome,
    Recording,
    RejectReason,
    Sentence,
    SentenceMatch,
    UnmatchedReason,
    UnmatchedStretch,
)
from speechkit.mining.voice_activity import SAMPLE_RATE


@dataclass(frozen=True)
class Decision:
    """Which matches are kept, why each other one is not, and the threshold that decided."""

    kept: list[SentenceMatch]
    rejected: list[tuple[SentenceMatch, RejectReason]]
    threshold: float


def decide(matches: Sequence[SentenceMatch], characters: Mapping[str, int], config: SelectionConfig) -> Decision:
    """Choose among all matches of a run; each must have its probability.

    What is ruled out goes first, then overlaps (the higher probability stays), then one threshold over the whole run,
    which is never under ``min_probability``, however sure the others are: a pair must be likely by itself. In
    one recording a sentence is kept at most once; in several it may be, because several people may read a document.

    Args:
        matches: of all recordings.
        characters: length of each sentence's matching key by its id.
        config: lengths, overlap and the wanted precision.
    """
    rejected: list[tuple[SentenceMatch, RejectReason]] = []
    fitting: list[SentenceMatch] = []
    for match in matches:
        reason = ruled_out(match, characters[match.sentence], config)
        if reason is None:
            fitting.append(match)
        else:
            rejected.append((match, reason))
    chosen: list[SentenceMatch] = []
    by_recording: dict[str, list[SentenceMatch]] = defaultdict(list)
    for match in fitting:
        by_recording[match.recording].append(match)
    for recording in sorted(by_recording):
        alone, beaten = resolve_overlaps(by_recording[recording], config.max_overlap_seconds)
        chosen += alone
        rejected += [(match, "overlaps_better") for match in beaten]
    probability = np.array([match.probability or 0.0 for match in chosen])
    floor = min(config.min_probability, config.min_precision)
    threshold = max(threshold_for(probability, config.min_precision), floor)
    kept = [match for match in chosen if (match.probability or 0.0) >= threshold]
    rejected += [(match, "low_confidence") for match in chosen if (match.probability or 0.0) < threshold]
    return Decision(kept, rejected, threshold)


def ruled_out(match: SentenceMatch, characters: int, config: SelectionConfig) -> RejectReason | None:
    """Why a match cannot be kept whatever its probability, if it cannot; ``characters`` is the length of its key."""
    length = match.end - match.start
    if characters < config.min_characters or length < config.min_seconds:
        return "too_short"
    if length > config.max_seconds:
        return "too_long"
    if match.lost_characters > config.max_lost_characters:
        return "edge_word_lost"
    if any(word.end - word.start > config.max_word_seconds for word in match.words):
        return "stretched_word"
    return "unread_words" if unheard_share(match.words) > config.max_unread_share else None


def resolve_overlaps(
    matches: Iterable[SentenceMatch], allowed_seconds: float
) -> tuple[list[SentenceMatch], list[SentenceMatch]]:
    """Split the matches of one recording into kept ones and those overlapped by a more probable one.

    Two neighbours may share up to ``allowed_seconds`` (boundaries are moved into the pause between them).
    """
    import bisect

    ranked = sorted(matches, key=lambda match: (-(match.probability or 0.0), match.start, match.sentence))
    starts: list[float] = []
    standing: list[SentenceMatch] = []
    beaten: list[SentenceMatch] = []
    sentences: set[str] = set()
    for match in ranked:
        position = bisect.bisect_left(starts, match.start)
        clash = match.sentence in sentences
        if position > 0:
            clash |= standing[position - 1].end - match.start > allowed_seconds
        if position < len(standing):
            clash |= match.end - standing[position].start > allowed_seconds
        if clash:
            beaten.append(match)
            continue
        starts.insert(position, match.start)
        standing.insert(position, match)
        sentences.add(match.sentence)
    return standing, beaten


def outcomes_of(
    document: Document,
    keys: Sequence[str],
    kept: Mapping[str, list[SentenceMatch]],
    rejected: Mapping[str, list[tuple[SentenceMatch, RejectReason]]],
    paired: bool,
) -> list[Outcome]:
    """One outcome for every sentence of a document, in order.

    Args:
        document: with its sentences.
        keys: the matching key of each sentence.
        kept: kept matches by sentence.
        rejected: matches that were not kept, with the reason, by sentence.
        paired: whether any recording was paired with the document.
    """
    outcomes = []
    for sentence, key in zip(document.sentences, keys, strict=True):
        reason: RejectReason | None = None
        match: SentenceMatch | None = None
        if kept.get(sentence.id):
            match = max(kept[sentence.id], key=lambda candidate: candidate.probability or 0.0)
        elif rejected.get(sentence.id):
            match, reason = max(rejected[sentence.id], key=lambda entry: entry[0].probability or 0.0)
        elif not key.strip():
            reason = "no_speech_characters"
        elif not paired:
            reason = "no_recording"
        else:
            reason = "not_found"
        shown = msgspec.structs.replace(match, words=[]) if match else None
        outcomes.append(
            Outcome(
                sentence.id,
                document.id,
                sentence.text,
                sentence.begin,
                sentence.end,
                reason is None,
                sentence.page,
                reason,
                shown,
            )
        )
    return outcomes


def utterance_of(
    match: SentenceMatch, sentence: Sentence, recording: Recording, lang: str, reason: RejectReason | None = None
) -> Utterance:
    """A match as a manifest record, cut at whole samples of the recording's own rate.

    ``reason`` says why it was not kept; it stands in ``custom`` then. Where words were corrected, ``custom`` has the
    text of the document as ``written``, and their number.
    """
    first = max(0, round(match.start * recording.sample_rate))
    last = min(recording.num_samples, round(match.end * recording.sample_rate))
    offset = first / recording.sample_rate
    text, timed = corrected(match, sentence.text)
    words = [
        AlignmentItem(
            word.word, round(max(0.0, word.start - offset), 4), round(word.end - word.start, 4), round(word.score, 4)
        )
        for word in timed
    ]
    custom = {"recording": recording.id, "sentence": sentence.id, "similarity": round(match.similarity, 4)}
    if reason is not None:
        custom["reason"] = reason
    if match.corrections:
        custom |= {"written": sentence.text, "corrected_words": len(match.corrections)}
    if match.character_errors is not None:
        custom["character_errors"] = match.character_errors
    return Utterance.from_samples(
        id=f"{recording.id}-{first / recording.sample_rate:09.2f}-{match.sentence}",
        audio_filepath=recording.audio_filepath,
        offset_samples=first,
        num_samples=max(1, last - first),
        sample_rate=recording.sample_rate,
        text=without_lost(text, match),
        lang=lang,
        channel=recording.channel or 0,
        alignment={"word": words} if words else None,
        score=round(match.probability or 0.0, 6),
        source=Source(document=match.document, begin=sentence.begin, end=sentence.end, page=sentence.page),
        custom=custom,
    )


Span = tuple[float, float]
"""Start and end, seconds in the recording."""


def unmatched_stretches(
    recording: Recording, kept: Sequence[Span], rejected: Sequence[Span], paired: bool
) -> list[UnmatchedStretch]:
    """Everything in a recording that no kept sentence covers, in order and without overlap, each stretch with a reason.

    Together with the kept sentences the stretches cover the recording from its first sample to its last.
    """
    length = recording.seconds
    speech = [(begin / SAMPLE_RATE, end / SAMPLE_RATE) for begin, end in recording.speech]
    points = {0.0, length}
    for stretches in (speech, kept, rejected):
        points.update(min(max(edge, 0.0), length) for stretch in stretches for edge in stretch)
    edges = sorted(points)
    spoken, taken, refused = (_inside(edges, stretches) for stretches in (speech, kept, rejected))
    result: list[UnmatchedStretch] = []
    for index, (start, end) in enumerate(itertools.pairwise(edges)):
        if taken[index] or end <= start:
            continue
        reason: UnmatchedReason
        if not spoken[index]:
            reason = "silence"
        elif not paired:
            reason = "no_document"
        else:
            reason = "rejected_sentence" if refused[index] else "untranscribed"
        if result and result[-1].reason == reason and result[-1].end == start:
            result[-1] = UnmatchedStretch(recording.id, result[-1].start, end, reason)
        else:
            result.append(UnmatchedStretch(recording.id, start, end, reason))
    return result


def _inside(edges: Sequence[float], stretches: Sequence[tuple[float, float]]) -> np.ndarray:
    """For each interval between neighbouring edges, whether one of the stretches covers it."""
    depth = np.zeros(len(edges) + 1, np.int64)
    bounds = np.array([stretch for stretch in stretches if stretch[1] > stretch[0]], np.float64).reshape(-1, 2)
    begins, ends = np.searchsorted(np.asarray(edges), bounds.T)
    np.add.at(depth, begins, 1)
    np.subtract.at(depth, ends, 1)
    return np.asarray(np.cumsum(depth) > 0)
