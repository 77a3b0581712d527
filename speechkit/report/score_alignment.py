"""The passages with the most errors in a system's alignments, as coloured word-by-word comparisons."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import msgspec

from speechkit.metrics.error_rates import ErrorResult, OperationKind, UtteranceErrors
from speechkit.report.svg import shortened

PASSAGE_WORDS = 50  # utterances up to twice as long are not split
LONGEST_WORD = 60  # characters shown
MAX_COLUMNS = 400


class Passage(msgspec.Struct, frozen=True):
    """Reference words ``begin`` to ``end`` of an utterance, their number of errors, and whether they are all of it."""

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
    """The ``count`` passages with the most errors, in descending order; ties prefer shorter ones."""
    worst = heapq.nlargest(count, _stretches(result), key=lambda s: (s[0], s[1] - s[2]))
    return [Passage(result.utterances[index], begin, end, errors, whole) for errors, begin, end, index, whole in worst]


def _stretches(result: ErrorResult) -> Iterator[tuple[int, int, int, int, bool]]:
    """Errors, begin and end of every passage with errors, the index of its utterance, and whether it is all of it."""
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
                for word in range(o.reference_begin, o.reference_end):
                    errors[word // PASSAGE_WORDS] += 1
        for number, error_count in enumerate(errors):
            if error_count:
                begin = number * PASSAGE_WORDS
                yield error_count, begin, min(words, begin + PASSAGE_WORDS), index, False


def columns(passage: Passage) -> Iterator[Column]:
    """The steps of a passage in order. Words inserted at its end belong to it if the utterance also ends there."""
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
    """The first `MAX_COLUMNS` steps of a passage, and the number of those left out."""
    steps = list(columns(passage))
    return [_word(step) for step in steps[:MAX_COLUMNS]], max(0, len(steps) - MAX_COLUMNS)


def _word(step: Column) -> Word:
    reference, hypothesis = (shortened(word or "", LONGEST_WORD) for word in (step.reference, step.hypothesis))
    notes = {
        "equal": "",
        "substitute": f"{reference} recognised as {hypothesis}",
        "delete": f"{reference} left out",
        "insert": f"{hypothesis} added",
    }
    return Word(step.kind, reference, hypothesis, notes[step.kind])
