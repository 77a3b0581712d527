"""Substituted, deleted and inserted words, and which errors are only differences of form."""

from __future__ import annotations

import string
from collections import Counter

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.metrics.alignments import Sentences
from speechkit.metrics.error_rates import ErrorResult

MARKS = string.punctuation + "“”„‘’«»…–—¿¡।॥"


class Confusions(msgspec.Struct, frozen=True):
    """(reference word, hypothesis word) of substitutions, deleted and inserted words, with counts."""

    substitutions: Counter[tuple[str, str]]
    deletions: Counter[str]
    insertions: Counter[str]


def confusions(result: ErrorResult) -> Confusions:
    """Count the errors of all alignments by word."""
    done = result.utterances
    rows = done.runs.rows.astype(np.int64)
    of = np.repeat(np.arange(len(done)), np.diff(done.runs.bounds))  # the utterance of each run
    # A run shifts all later hypothesis positions of its utterance.
    shift = np.cumsum(rows[:, 2] - rows[:, 1]) - (rows[:, 2] - rows[:, 1])
    first = np.searchsorted(of, of)
    begin, start = rows[:, 0] + done.reference.bounds[of], rows[:, 0] + done.hypothesis.bounds[of]
    start += shift - shift[first] if len(rows) else 0
    kept, gone, added = (rows[:, 1] > 0) & (rows[:, 2] > 0), rows[:, 2] == 0, rows[:, 1] == 0
    expected = done.reference.numbers[_spread(begin[kept], rows[kept, 1])].astype(np.uint64)
    recognised = done.hypothesis.numbers[_spread(start[kept], rows[kept, 1])]
    both, times = np.unique(expected << np.uint64(32) | recognised, return_counts=True)
    pairs = zip(
        done.reference.tokens_of((both >> np.uint64(32)).tolist()),
        done.reference.tokens_of((both & np.uint64(0xFFFFFFFF)).tolist()),
        strict=True,
    )
    return Confusions(
        Counter(dict(zip(pairs, times.tolist(), strict=True))),
        _counted(done.reference, begin[gone], rows[gone, 1]),
        _counted(done.hypothesis, start[added], rows[added, 2]),
    )


def _spread(begins: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """All positions of the given ranges, concatenated."""
    ends = np.cumsum(lengths)
    indices: NDArray[np.int64] = np.arange(ends[-1] if len(ends) else 0)
    indices += np.repeat(begins - (ends - lengths), lengths)
    return indices


def _counted(side: Sentences, begins: NDArray[np.int64], lengths: NDArray[np.int64]) -> Counter[str]:
    numbers, times = np.unique(side.numbers[_spread(begins, lengths)], return_counts=True)
    return Counter(dict(zip(side.tokens_of(numbers.tolist()), times.tolist(), strict=True)))


def only_under(first: Confusions, other: Confusions) -> list[tuple[tuple[str, str], int]]:
    """Substitutions in ``first`` that are not in ``other``, ignoring case and punctuation, most frequent first.

    Pairs that differ only in case or punctuation are not merged with others.
    """
    known = {(_bare(expected), _bare(recognised)) for expected, recognised in other.substitutions}
    gone = []
    for (expected, recognised), count in first.substitutions.items():
        form = _bare(expected), _bare(recognised)
        if form not in known or (form[0] == form[1] and (expected, recognised) not in other.substitutions):
            gone.append(((expected, recognised), count))
    return sorted(gone, key=lambda item: (-item[1], item[0]))


def _bare(word: str) -> str:
    return word.casefold().strip(MARKS)
