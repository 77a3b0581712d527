"""Steps for the scripts of India: joiners, conjunct spellings and Hindi numbers.

Vowel signs, virama, nukta, anusvara, chandrabindu and visarga are letters of the word: no step removes one.
"""

from __future__ import annotations

import re
import unicodedata

from speechkit.text.hindi_numbers import POINT, cardinal, digits_in_words
from speechkit.text.normalized import Normalized, replace_matches

JOINER = "\u200d"
# One letter, two spellings: consonant + virama + zero-width joiner, or its own code point.
CONJUNCT_FORMS = {
    "ണ്" + JOINER: "ൺ",
    "ന്" + JOINER: "ൻ",
    "ര്" + JOINER: "ർ",
    "ല്" + JOINER: "ൽ",
    "ള്" + JOINER: "ൾ",
    "ക്" + JOINER: "ൿ",
    "ত্" + JOINER: "ৎ",
}
_CONJUNCT = re.compile("|".join(map(re.escape, CONJUNCT_FORMS)))
_NUMBER = re.compile(r"([0-9]{1,3}(?:,[0-9]{2,3})+(?![0-9])|[0-9]+)(?:\.([0-9]+))?(\s?%)?")

SCRIPT_RANGES = {
    "Devanagari": (0x0900, 0x097F),
    "Bengali": (0x0980, 0x09FF),
    "Gurmukhi": (0x0A00, 0x0A7F),
    "Gujarati": (0x0A80, 0x0AFF),
    "Odia": (0x0B00, 0x0B7F),
    "Tamil": (0x0B80, 0x0BFF),
    "Telugu": (0x0C00, 0x0C7F),
    "Kannada": (0x0C80, 0x0CFF),
    "Malayalam": (0x0D00, 0x0D7F),
}


def unify_conjuncts(text: str) -> Normalized:
    """Malayalam chillu letters and the Bengali khanda ta written with a joiner, as their own code points."""
    return replace_matches(text, _CONJUNCT, lambda match: CONJUNCT_FORMS[match.group()])


def hindi_numbers_to_words(text: str) -> Normalized:
    """Numbers in ASCII digits as Hindi words."""

    def in_words(match: re.Match[str]) -> str:
        words = cardinal(match[1].replace(",", ""))
        if match[2]:
            words += f" {POINT} {digits_in_words(match[2])}"
        if match[3]:
            words += " प्रतिशत"
        # The words go through the composition step themselves: nukta letters have one spelling only.
        return f" {unicodedata.normalize('NFC', words)} "

    return replace_matches(text, _NUMBER, in_words)
