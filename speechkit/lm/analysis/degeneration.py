"""Degeneration of sampled sequences: loops, empty samples, low diversity; always compared with real speech. Torch-free.

Sequences are deduplicated units: in frames every long sound would be a loop.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from speechkit.errors import UserError

NGRAM, REACH, LONGEST_PERIOD, LEAST_TURNS = 4, 16, 20, 3


class Degeneration(msgspec.Struct, frozen=True):
    """Figures of some sequences.

    Attributes:
        sequences: how many there are.
        mean_length: units of one.
        empty: share without units, 0 to 1.
        cut_off: share that did not end by itself; None where that is not known.
        repeated_ngrams: 1 - distinct / all 4-grams of a sequence, all sequences together.
        repeated_units: share of units that also stand among the 16 before them.
        looping: share with a loop: a period of at most 20 units, at least three times on end.
        longest_loop: units of the longest one.
        distinct_bigrams: distinct / all, over all sequences together: what lacks variety has few.
        unigram_entropy: bits of a unit.
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
    """Figures of deduplicated units; see `Degeneration`.

    Raises:
        UserError: if there is no sequence.
    """
    if not sequences:
        raise UserError("there is no sequence to look at; give at least one")
    counts = Counter(unit for sequence in sequences for unit in sequence)
    total = counts.total()
    ngrams = [_ngrams(sequence, NGRAM) for sequence in sequences]
    bigrams = [pair for sequence in sequences for pair in _ngrams(sequence, 2)]
    repeated = sum(
        unit in sequence[max(0, place - REACH) : place] for sequence in sequences for place, unit in enumerate(sequence)
    )
    loops = [longest_loop(sequence) for sequence in sequences]
    return Degeneration(
        sequences=len(sequences),
        mean_length=total / len(sequences),
        empty=sum(not sequence for sequence in sequences) / len(sequences),
        cut_off=None if ended is None else sum(not end for end in ended) / len(ended),
        repeated_ngrams=_share(sum(len(each) - len(set(each)) for each in ngrams), sum(map(len, ngrams))),
        repeated_units=_share(repeated, total),
        looping=sum(loop > 0 for loop in loops) / len(loops),
        longest_loop=max(loops),
        distinct_bigrams=_share(len(set(bigrams)), len(bigrams)),
        unigram_entropy=-sum(count / total * math.log2(count / total) for count in counts.values()) if total else 0.0,
    )


def longest_loop(sequence: Sequence[int]) -> int:
    """Units of the longest stretch that repeats a period of at most 20 units at least three times; 0 without any."""
    longest = 0
    for period in range(1, min(LONGEST_PERIOD, len(sequence) // LEAST_TURNS) + 1):
        equal = 0
        for place in range(period, len(sequence)):
            equal = equal + 1 if sequence[place] == sequence[place - period] else 0
            if equal >= period * (LEAST_TURNS - 1):
                longest = max(longest, equal + period)
    return longest


def _ngrams(sequence: Sequence[int], order: int) -> list[tuple[int, ...]]:
    return [tuple(sequence[place : place + order]) for place in range(len(sequence) - order + 1)]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
