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
"""ARPAbet vowels without stress, the syllable nuclei."""
SILENCES = frozenset(("SIL", "SP", "SPN", "NSN", "+SPN+", "+NSN+", "<SIL>", "<S>", "</S>", ""))
"""Non-speech symbols of aligners, in upper case."""
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
"""Permissible English onsets, except the empty one."""
_STRESS = re.compile(r"\d+$")


def bare(phone: str) -> str:
    """A phone in upper case without its stress: ``ah0`` to ``AH``."""
    return _STRESS.sub("", phone.upper())


def is_vowel(phone: str) -> bool:
    """Whether an ARPAbet phone, with or without stress, is a vowel."""
    return bare(phone) in VOWELS


def syllabify(phones: Sequence[str]) -> list[tuple[int, int]]:
    """Spans (first phone, one past the last) of the syllables of a word.

    The spans cover all phones; a word without a vowel is one syllable.
    """
    symbols = [bare(phone) for phone in phones]
    nuclei = [index for index, symbol in enumerate(symbols) if symbol in VOWELS]
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
    """Syllables with times, from the words and phones of an utterance.

    A phone belongs to the word that contains its middle; silences and phones outside of words are ignored, and
    syllables do not cross word boundaries. Symbols are the bare phones joined by ``-``, such as ``K-AE-T``.
    """
    tier: list[AlignmentItem] = []
    speech = [phone for phone in phones if bare(phone.symbol) not in SILENCES]
    next_phone = 0
    for word in words:
        end = word.start + word.duration
        word_phones = []
        while next_phone < len(speech):
            middle = speech[next_phone].start + speech[next_phone].duration / 2
            if middle >= end:
                break
            if middle >= word.start:
                word_phones.append(speech[next_phone])
            next_phone += 1
        for first, last in syllabify([phone.symbol for phone in word_phones]):
            part = word_phones[first:last]
            until = part[-1].start + part[-1].duration
            symbol = "-".join(bare(phone.symbol) for phone in part)
            tier.append(AlignmentItem(symbol, part[0].start, round(until - part[0].start, 6), word.score))
    return tier
