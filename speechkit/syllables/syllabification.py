"""Syllabification by maximal onset: every vowel is a nucleus and takes the longest permissible onset before it.

Source: Kahn 1976 (maximal onset); the list of onsets is that of English, written for this module.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from speechkit.data.records import AlignmentItem

VOWELS = frozenset(
    ("AA", "AE", "AH", "AO", "AW", "AX", "AXR", "AY", "EH", "ER", "EY", "IH", "IX", "IY", "OW", "OY", "UH", "UW", "UX")
)
"""ARPAbet symbols that make a nucleus, without stress."""
SILENCES = frozenset(("SIL", "SP", "SPN", "NSN", "+SPN+", "+NSN+", "<SIL>", "<S>", "</S>", ""))
"""Symbols of aligners for no speech, in upper case."""
_SINGLE = "B CH D DH F G HH JH K L M N P R S SH T TH V W Y Z ZH"
_PAIRS = {
    "L": "P B F K G S",
    "R": "P B F K G T D TH SH",
    "W": "T D K G S TH HH",
    "Y": "P B F V M N K G HH T D L S TH",
    "P": "S",
    "T": "S",
    "K": "S",
    "M": "S",
    "N": "S",
    "F": "S",
}
_TRIPLES = "SPL SPR SPY STR STY SKL SKR SKW SKY"
ONSETS = frozenset(
    [(phone,) for phone in _SINGLE.split()]
    + [(first, second) for second, firsts in _PAIRS.items() for first in firsts.split()]
    + [tuple(triple) for triple in _TRIPLES.split()]
)
"""Consonants that may begin an English syllable, the empty onset aside."""
_STRESS = re.compile(r"\d+$")


def bare(phone: str) -> str:
    """A phone in upper case without its stress: ``ah0`` to ``AH``."""
    return _STRESS.sub("", phone.upper())


def is_vowel(phone: str) -> bool:
    """Whether an ARPAbet phone, with or without stress, makes a nucleus."""
    return bare(phone) in VOWELS


def syllabify(phones: Sequence[str]) -> list[tuple[int, int]]:
    """Spans (first phone, one past the last) of the syllables of one word.

    The spans cover all phones; a word without a vowel is one syllable, and no phones are none.
    """
    symbols = [bare(phone) for phone in phones]
    nuclei = [place for place, symbol in enumerate(symbols) if symbol in VOWELS]
    if not symbols:
        return []
    begins = [0]
    for left, right in pairwise(nuclei):
        begin = right
        while begin - 1 > left and tuple(symbols[begin - 1 : right]) in ONSETS:
            begin -= 1
        begins.append(begin)
    return list(zip(begins, [*begins[1:], len(symbols)], strict=True))


def syllable_tier(words: Sequence[AlignmentItem], phones: Sequence[AlignmentItem]) -> list[AlignmentItem]:
    """Syllables with their times from the words and phones of an utterance.

    A phone belongs to the word in which its middle lies; silences and phones outside of all words belong to none, and
    no syllable reaches over the end of a word. The symbol is the bare phones with ``-`` between them, as ``K-AE-T``.
    """
    tier: list[AlignmentItem] = []
    speech = [phone for phone in phones if bare(phone.symbol) not in SILENCES]
    place = 0
    for word in words:
        end = word.start + word.duration
        mine = []
        while place < len(speech):
            middle = speech[place].start + speech[place].duration / 2
            if middle >= end:
                break
            if middle >= word.start:
                mine.append(speech[place])
            place += 1
        for first, last in syllabify([phone.symbol for phone in mine]):
            part = mine[first:last]
            until = part[-1].start + part[-1].duration
            symbol = "-".join(bare(phone.symbol) for phone in part)
            tier.append(AlignmentItem(symbol, part[0].start, round(until - part[0].start, 6), word.score))
    return tier
