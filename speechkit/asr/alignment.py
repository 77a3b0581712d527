"""Word times of a known text, by CTC alignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from speechkit.asr.hypothesis import Emissions
from speechkit.asr.refinement import WILDCARD, refine, word_frames
from speechkit.data.records import AlignmentItem
from speechkit.errors import AlignmentError

MAX_UNKNOWN = 0.5
"""Largest share of a text's characters that may be missing from the vocabulary."""
UNKNOWN_COST = 3.0
"""Cost of a character without a symbol, in units of symbols."""


def columns_of(emissions: Emissions) -> dict[str, int]:
    """Column of each character or piece, in upper and lower case; without the blank."""
    column: dict[str, int] = {}
    for index, symbol in enumerate(emissions.vocabulary):
        special = len(symbol) > 1 and symbol[0] in "<[" and symbol[-1] in ">]"
        if index != emissions.blank and symbol and not special:
            column.setdefault(symbol, index)
    for symbol, index in list(column.items()):
        column.setdefault(symbol.lower(), index)
        column.setdefault(symbol.upper(), index)
    return column


def spell(text: str, column: Mapping[str, int]) -> list[tuple[int, int, int]]:
    """Spell a text with as few symbols as possible, as (column, begin, end) of the characters of each symbol.

    A character without a symbol is a wildcard; spaces are omitted if there is no word separator. If pieces begin with
    the space before a word, the first word has one too, as in training; ``begin`` then excludes it.
    """
    longest = max(map(len, column), default=1)
    if longest == 1:
        return [
            (column.get(character, WILDCARD), index, index + 1)
            for index, character in enumerate(text)
            if character != " " or " " in column
        ]
    spaced = " " + text
    # cost[i] and step[i]: number of symbols for spaced[i:], and the length of the first, the longest in case of ties.
    cost, step = [0.0] * (len(spaced) + 1), [1] * len(spaced)
    for begin in range(len(spaced) - 1, -1, -1):
        cost[begin] = cost[begin + 1] + UNKNOWN_COST
        for length in range(1, min(longest, len(spaced) - begin) + 1):
            if spaced[begin : begin + length] in column and cost[begin + length] + 1 <= cost[begin]:
                cost[begin], step[begin] = cost[begin + length] + 1, length
    spelled, begin = [], 0
    while begin < len(spaced):
        end = begin + step[begin]
        symbol = spaced[begin:end]
        if symbol != " " or (" " in column and begin > 0):
            lead = len(symbol) - len(symbol.lstrip(" ")) if symbol != " " else 0
            spelled.append((column.get(symbol, WILDCARD), begin + lead - 1, end - 1))
        begin = end
    return spelled


def align_words(emissions: Emissions, words: Sequence[str]) -> list[AlignmentItem]:
    """Align words; returns them with times in seconds, rounded to 0.1 ms, and mean log-probabilities.

    Raises:
        AlignmentError: if the words cannot fit, or the vocabulary lacks more than half of their characters.
    """
    column = columns_of(emissions)
    text = " ".join(words)
    owner_at = [-1 if character == " " else number for number, word in enumerate(words) for character in f"{word} "]
    tokens = [(token, owner_at[begin]) for token, begin, _ in spell(text, column)]
    written = [token for token, owner in tokens if owner >= 0]
    unknown = written.count(WILDCARD) / max(1, len(written))
    if unknown > MAX_UNKNOWN:  # wildcards match anything
        raise AlignmentError(f"the recogniser cannot spell {unknown:.0%} of the characters")
    refined = refine(emissions.log_probs, np.array([token for token, _ in tokens]), emissions.blank)
    hop = emissions.hop_seconds
    return [
        AlignmentItem(words[n], round(begin * hop, 4), round((end - begin) * hop, 4), round(score, 4))
        for n, begin, end, score in word_frames(refined, [owner for _, owner in tokens])
    ]
