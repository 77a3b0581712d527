"""Spell out acronyms: "the BBC" becomes "the bee bee see", German "die EU" becomes "die E U"."""

from __future__ import annotations

import re

from speechkit.text.normalized import Normalized, replace_matches, unchanged

_ENGLISH = """
ay bee see dee ee ef gee aitch eye jay kay el em en oh pee cue are ess tee you vee double-you ex why zee
"""
_GERMAN = "a be ze de e ef ge ha i jot ka el em en o pe ku er es te u vau we ix ypsilon zett"
LETTER_NAMES = {
    lang: dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", names.split(), strict=True))
    for lang, names in (("en", _ENGLISH), ("de", _GERMAN))
}
READ_AS_WORDS_FROM = 4
"""Letters: "NASA" is a word, "IBM" is not; without a vowel none is."""
_CAPITALS = re.compile(r"(?<![\w'])([A-Z]{2,6})(?P<plural>s)?(?![\w'][A-Za-z])")
_VOWEL = re.compile(r"[AEIOUY]")


def spell_acronyms(text: str, lang: str) -> Normalized:
    """Replace words of up to six capitals by their letter names, if they are short or have no vowel.

    Text that is mostly in capitals is unchanged, as is text in a language without letter names here.
    """
    names, plural = LETTER_NAMES.get(lang), "'s" if lang == "en" else "s"
    capitals = sum(character.isupper() for character in text)
    if names is None or 2 * capitals > sum(character.isalpha() for character in text):
        return unchanged(text)

    def spelled(match: re.Match[str]) -> str | None:
        letters = match[1]
        if len(letters) >= READ_AS_WORDS_FROM and _VOWEL.search(letters):
            return None
        return " ".join(names[letter] for letter in letters) + (plural if match["plural"] else "")

    return replace_matches(text, _CAPITALS, spelled)
