"""Which words a system mistakes, leaves out and adds, and which of its errors are a matter of form."""

from __future__ import annotations

from collections import Counter

import msgspec

from speechkit.metrics.error_rates import ErrorResult


class Confusions(msgspec.Struct, frozen=True):
    """(reference word, hypothesis word) of substitutions, deleted and inserted words, with how often."""

    substitutions: Counter[tuple[str, str]]
    deletions: Counter[str]
    insertions: Counter[str]


def confusions(result: ErrorResult) -> Confusions:
    """Count the wrong words of all alignments."""
    found = Confusions(Counter(), Counter(), Counter())
    for utterance in result.utterances:
        for o in utterance.operations:
            if o.kind == "substitute":
                said = utterance.reference[o.reference_begin : o.reference_end]
                heard = utterance.hypothesis[o.hypothesis_begin : o.hypothesis_end]
                found.substitutions.update(zip(said, heard, strict=True))
            elif o.kind == "delete":
                found.deletions.update(utterance.reference[o.reference_begin : o.reference_end])
            elif o.kind == "insert":
                found.insertions.update(utterance.hypothesis[o.hypothesis_begin : o.hypothesis_end])
    return found


def only_under(first: Confusions, other: Confusions) -> list[tuple[tuple[str, str], int]]:
    """Substitutions that stand in ``first`` and nowhere in ``other``, the most frequent first."""
    gone = [(pair, count) for pair, count in first.substitutions.items() if pair not in other.substitutions]
    return sorted(gone, key=lambda item: (-item[1], item[0]))
