"""When each word of a known text was spoken, by CTC alignment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from speechkit.asr.hypothesis import Emissions
from speechkit.asr.refinement import WILDCARD, refine, word_frames
from speechkit.data.records import AlignmentItem
from speechkit.errors import AlignmentError

MAX_UNKNOWN = 0.5
"""Share of a text's characters that the recogniser may be unable to spell."""


def columns_of(emissions: Emissions) -> dict[str, int]:
    """The column of each character, in whichever case the vocabulary has it; the blank is no character."""
    column: dict[str, int] = {}
    for index, symbol in enumerate(emissions.vocabulary):
        if index != emissions.blank and len(symbol) == 1:
            column.setdefault(symbol, index)
    for symbol, index in list(column.items()):
        column.setdefault(symbol.lower(), index)
        column.setdefault(symbol.upper(), index)
    return column


def align_words(emissions: Emissions, words: Sequence[str]) -> list[AlignmentItem]:
    """The words with their times in seconds, rounded to 0.1 ms, and their mean log-probability.

    Raises:
        AlignmentError: if the words cannot fit, or the vocabulary lacks more than half of their characters.
    """
    column = columns_of(emissions)
    # A word separator stands before each word, where the model has one.
    spelled = [(column.get(" ", None), -1) if c is None else (column.get(c, WILDCARD), n) for c, n in _spelling(words)]
    tokens = [(token, owner) for token, owner in spelled if token is not None]
    written = [token for token, owner in tokens if owner >= 0]
    unknown = written.count(WILDCARD) / max(1, len(written))
    if unknown > MAX_UNKNOWN:  # wildcards lie anywhere
        raise AlignmentError(f"the recogniser cannot spell {unknown:.0%} of the characters")
    refined = refine(emissions.log_probs, np.array([token for token, _ in tokens]), emissions.blank)
    hop = emissions.hop_seconds
    return [
        AlignmentItem(words[n], round(begin * hop, 4), round((end - begin) * hop, 4), round(score, 4))
        for n, begin, end, score in word_frames(refined, [owner for _, owner in tokens])
    ]


def _spelling(words: Sequence[str]) -> Iterator[tuple[str | None, int]]:
    """Characters with the number of their word; None between words."""
    for number, word in enumerate(words):
        if number:
            yield None, -1
        for character in word:
            yield character, number
