"""Degeneration of sampled sequences: loops, empty samples, low diversity; compared with real speech. Torch-free.

Sequences are deduplicated units; in frames any long sound would count as a loop.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from speechkit.errors import UserError

NGRAM, LOOKBACK, MAX_PERIOD, MIN_REPETITIONS = 4, 16, 20, 3


class Degeneration(msgspec.Struct, frozen=True):
    """Degeneration measures of a set of sequences.

    Attributes:
        sequences: number of sequences.
        mean_length: in units.
        empty: share of empty sequences, 0 to 1.
        cut_off: share that reached the length limit; None if unknown.
        repeated_ngrams: 1 - distinct / all 4-grams within a sequence, pooled over sequences.
        repeated_units: share of units that also occur among the 16 before them.
        looping: share of sequences with a loop: a period of at most 20 units, repeated at least three times in a row.
        longest_loop: length of the longest loop in units.
        distinct_bigrams: distinct / all bigrams, pooled over sequences.
        unigram_entropy: bits per unit.
    """

    sequences: int
    mean_length: float
    empty: float
    cut_off: float | None
    repeated_ngrams: float
    repeated_units: float
    looping: float
    longest_loop: int
    distinct_bigrams: float
    unigram_entropy: float


def degeneration(sequences: Sequence[Sequence[int]], ended: Sequence[bool] | None = None) -> Degeneration:
    """Degeneration measures of deduplicated units; see `Degeneration`.

    Raises:
        UserError: if there are no sequences.
    """
    if not sequences:
        raise UserError("there are no sequences to measure; give at least one")
    counts = Counter(unit for sequence in sequences for unit in sequence)
    total = counts.total()
    ngrams = [_ngrams(sequence, NGRAM) for sequence in sequences]
    bigrams = [pair for sequence in sequences for pair in _ngrams(sequence, 2)]
    repeated = sum(
        unit in sequence[max(0, index - LOOKBACK) : index]
        for sequence in sequences
        for index, unit in enumerate(sequence)
    )
    loops = [longest_loop(sequence) for sequence in sequences]
    return Degeneration(
        sequences=len(sequences),
        mean_length=total / len(sequences),
        empty=sum(not sequence for sequence in sequences) / len(sequences),
        cut_off=None if ended is None else sum(not end for end in ended) / len(ended),
        repeated_ngrams=_share(sum(len(own) - len(set(own)) for own in ngrams), sum(map(len, ngrams))),
        repeated_units=_share(repeated, total),
        looping=sum(loop > 0 for loop in loops) / len(loops),
        longest_loop=max(loops),
        distinct_bigrams=_share(len(set(bigrams)), len(bigrams)),
        unigram_entropy=-sum(count / total * math.log2(count / total) for count in counts.values()) if total else 0.0,
    )


def longest_loop(sequence: Sequence[int]) -> int:
    """Length of the longest loop in units, 0 without any; see `Degeneration`."""
    longest = 0
    for period in range(1, min(MAX_PERIOD, len(sequence) // MIN_REPETITIONS) + 1):
        equal = 0
        for index in range(period, len(sequence)):
            equal = equal + 1 if sequence[index] == sequence[index - period] else 0
            if equal >= period * (MIN_REPETITIONS - 1):
                longest = max(longest, equal + period)
    return longest


def _ngrams(sequence: Sequence[int], order: int) -> list[tuple[int, ...]]:
    return [tuple(sequence[begin : begin + order]) for begin in range(len(sequence) - order + 1)]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
