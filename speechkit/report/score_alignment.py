"""The passages with the most errors in a system's alignments, as coloured word-by-word comparisons."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import msgspec

from speechkit.metrics.error_rates import ErrorResult, OperationKind, UtteranceErrors
from speechkit.report.svg import shortened

PASSAGE_WORDS = 50  # an utterance up to twice as long stays whole
LONGEST_WORD = 60  # characters shown
MOST_COLUMNS = 400


class Passage(msgspec.Struct, frozen=True):
    """Reference words ``begin`` to ``end`` of an utterance, how many errors lie there, and whether it is all of it."""

    utterance: UtteranceErrors
    begin: int
    end: int
    errors: int
    whole: bool


class Column(msgspec.Struct, frozen=True):
    """One step of an alignment; an absent word is None."""

    kind: OperationKind
    reference: str | None
    hypothesis: str | None


def worst_passages(result: ErrorResult, count: int) -> list[Passage]:
    """The ``count`` passages with the most errors, the most first; of as many errors the shorter one."""
    worst = heapq.nlargest(count, _stretches(result), key=lambda s: (s[0], s[1] - s[2]))
    return [Passage(result.utterances[index], begin, end, errors, whole) for errors, begin, end, index, whole in worst]


def _stretches(result: ErrorResult) -> Iterator[tuple[int, int, int, int, bool]]:
    """Errors, begin and end of every stretch with errors, the number of its utterance, and whether it is all of it."""
    totals = result.utterances.counts[:, 1:].sum(axis=1)
    lengths = result.utterances.reference.lengths
    for index in totals.nonzero()[0].tolist():
        words = int(lengths[index])
        if words <= 2 * PASSAGE_WORDS:
            yield int(totals[index]), 0, words, index, True
            continue
        errors = [0] * ((words - 1) // PASSAGE_WORDS + 1)
        for o in result.utterances[index].operations:
            if o.kind == "insert":
                errors[min(o.reference_begin, words - 1) // PASSAGE_WORDS] += o.hypothesis_end - o.hypothesis_begin
            elif o.kind != "equal":
                for place in range(o.reference_begin, o.reference_end):
                    errors[place // PASSAGE_WORDS] += 1
        for number, wrong in enumerate(errors):
            if wrong:
                begin = number * PASSAGE_WORDS
                yield wrong, begin, min(words, begin + PASSAGE_WORDS), index, False


def columns(passage: Passage) -> Iterator[Column]:
    """The steps of a passage in order. Words inserted at its end belong to it where the utterance ends there too."""
    utterance, begin, end = passage.utterance, passage.begin, passage.end
    last = end == len(utterance.reference)
    for o in utterance.operations:
        if o.kind == "insert":
            if begin <= o.reference_begin < end or (last and o.reference_begin == end):
                yield from (
                    Column("insert", None, w) for w in utterance.hypothesis[o.hypothesis_begin : o.hypothesis_end]
                )
            continue
        for index in range(max(begin, o.reference_begin), min(end, o.reference_end)):
            hypothesis = None
            if o.kind != "delete":
                hypothesis = utterance.hypothesis[o.hypothesis_begin + index - o.reference_begin]
            yield Column(o.kind, utterance.reference[index], hypothesis)


class Word(msgspec.Struct, frozen=True):
    """A step of an alignment as shown: the reference word above the hypothesis word."""

    kind: OperationKind
    said: str
    heard: str
    note: str


def words_shown(passage: Passage) -> tuple[list[Word], int]:
    """The first `MOST_COLUMNS` steps of a passage, and how many more there are."""
    steps = list(columns(passage))
    return [_word(step) for step in steps[:MOST_COLUMNS]], max(0, len(steps) - MOST_COLUMNS)


def _word(step: Column) -> Word:
    said, heard = (shortened(word or "", LONGEST_WORD) for word in (step.reference, step.hypothesis))
    notes = {
        "equal": "",
        "substitute": f"{said} heard as {heard}",
        "delete": f"{said} left out",
        "insert": f"{heard} added",
    }
    return Word(step.kind, said, heard, notes[step.kind])
