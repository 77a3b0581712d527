"""Combine the evidence for a sentence from the manifest and the alignment."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from speechkit.data import Utterance
from speechkit.mining.records import Outcome, SentenceMatch, WordTime
from speechkit.report.mining_data import Records


def kept_outcome(utterance: Utterance) -> Outcome:
    """Convert a kept utterance to an outcome; evidence missing in the manifest comes from its alignment."""
    custom, source = utterance.custom or {}, utterance.source
    recording, sentence = str(custom.get("recording", "")), str(custom.get("sentence", utterance.id))
    text = utterance.text or ""
    items = (utterance.alignment or {}).get("word", [])
    at = utterance.offset
    match = SentenceMatch(
        sentence=sentence,
        recording=recording,
        document=source.document if source else "",
        start=at,
        end=at + utterance.duration,
        similarity=float(custom.get("similarity", 0.0)),
        edge_cer=0.0,
        margin=0.0,
        characters_per_second=len(text) / utterance.duration if utterance.duration else 0.0,
        words=[WordTime(w.symbol, at + w.start, at + w.start + w.duration, w.score or 0.0) for w in items],
        probability=utterance.score,
    )
    begin, end = (source.begin, source.end) if source else (0, 0)
    return Outcome(sentence, match.document, text, begin, end, True, (source and source.page) or 1, None, match)


def evidence_of(lists: Sequence[Sequence[Outcome]], records: Records) -> dict[tuple[str, str], SentenceMatch]:
    """The alignments' matches of the listed sentences, by recording and sentence."""
    wanted = {(outcome.match.recording, outcome.sentence) for shown in lists for outcome in shown if outcome.match}
    matches = {}
    for alignment in records.alignments():
        for match in alignment.matches:
            if (key := (alignment.recording, match.sentence)) in wanted:
                matches[key] = match
    return matches


def with_evidence(outcome: Outcome, evidence: dict[tuple[str, str], SentenceMatch]) -> Outcome:
    """The outcome, completed with evidence from the alignment that the manifest does not have."""
    match = outcome.match
    aligned = evidence.get((match.recording, outcome.sentence)) if match else None
    if match is None or aligned is None:
        return outcome
    # Selection decided on the probability and the manifest on the exact cut; the rest is the alignment's.
    complete = msgspec.structs.replace(
        aligned, start=match.start, end=match.end, probability=match.probability, words=match.words or aligned.words
    )
    return msgspec.structs.replace(outcome, match=complete)
