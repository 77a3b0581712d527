"""Which words a system mistakes, leaves out and adds, and which of its errors are a matter of form."""

from __future__ import annotations

import string
from collections import Counter

import msgspec

from speechkit.metrics.error_rates import ErrorResult

MARKS = string.punctuation + "“”„‘’«»…–—¿¡।॥"


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
    """Substitutions that stand in ``first`` and not in ``other`` in any case or punctuation, the most frequent first.

    A pair that differs in case or punctuation only stands apart from all others.
    """
    known = {(_bare(said), _bare(heard)) for said, heard in other.substitutions}
    gone = []
    for (said, heard), count in first.substitutions.items():
        form = _bare(said), _bare(heard)
        if form not in known or (form[0] == form[1] and (said, heard) not in other.substitutions):
            gone.append(((said, heard), count))
    return sorted(gone, key=lambda item: (-item[1], item[0]))


def _bare(word: str) -> str:
    return word.casefold().strip(MARKS)
