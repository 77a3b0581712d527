"""Rule-based grapheme-to-phoneme conversion for out-of-vocabulary words and languages without a lexicon.

Approximate: sufficient for a forced aligner to know the number and rough position of the nuclei, not for synthesis.
All phones are ARPAbet, because the aligner's acoustic model is English; other sounds map to the nearest one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from speechkit.errors import UserError

_ENGLISH = {
    "tion": "SH AH N", "sion": "ZH AH N", "ture": "CH ER", "ough": "AO", "augh": "AO", "eigh": "EY", "igh": "AY",
    "tch": "CH", "dge": "JH", "sch": "S K", "our": "ER", "ing": "IH NG", "ck": "K", "ch": "CH", "sh": "SH",
    "th": "TH", "ph": "F", "gh": "", "wh": "W", "wr": "R", "kn": "N", "qu": "K W", "ng": "NG", "ee": "IY", "ea": "IY",
    "oo": "UW", "ou": "AW", "ow": "OW", "oa": "OW", "oi": "OY", "oy": "OY", "ai": "EY", "ay": "EY", "au": "AO",
    "aw": "AO", "ei": "IY", "ey": "IY", "ie": "IY", "eu": "UW", "ew": "UW", "ue": "UW", "er": "ER", "ir": "ER",
    "ur": "ER", "ar": "AA R", "or": "AO R", "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G",
    "h": "HH", "i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N", "o": "AA", "p": "P", "r": "R", "s": "S",
    "t": "T", "u": "AH", "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z",
}  # fmt: skip
_GERMAN = {
    "tsch": "CH", "sch": "SH", "chs": "K S", "ck": "K", "ch": "HH", "ph": "F", "th": "T", "qu": "K V", "pf": "P F",
    "tz": "T S", "ng": "NG", "ei": "AY", "ai": "AY", "ey": "AY", "ay": "AY", "eu": "OY", "äu": "OY", "au": "AW",
    "ieh": "IY", "ie": "IY", "ah": "AA", "eh": "EY", "ih": "IY", "oh": "OW", "uh": "UW", "äh": "EH", "öh": "ER",
    "üh": "IY", "aa": "AA", "ee": "EY", "oo": "OW", "a": "AA", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F",
    "g": "G", "h": "HH", "i": "IH", "j": "Y", "k": "K", "l": "L", "m": "M", "n": "N", "o": "AO", "p": "P", "r": "R",
    "s": "Z", "ss": "S", "ß": "S", "t": "T", "u": "UH", "v": "F", "w": "V", "x": "K S", "y": "IY", "z": "T S",
    "ä": "EH", "ö": "ER", "ü": "IY", "é": "EY", "è": "EH", "à": "AA",
}  # fmt: skip
_HINDI_CONSONANTS = {
    "क": "K", "ख": "K", "ग": "G", "घ": "G", "ङ": "NG", "च": "CH", "छ": "CH", "ज": "JH", "झ": "JH", "ञ": "N",
    "ट": "T", "ठ": "T", "ड": "D", "ढ": "D", "ण": "N", "त": "T", "थ": "TH", "द": "D", "ध": "DH", "न": "N", "प": "P",
    "फ": "F", "ब": "B", "भ": "B", "म": "M", "य": "Y", "र": "R", "ल": "L", "ळ": "L", "व": "V", "श": "SH", "ष": "SH",
    "स": "S", "ह": "HH",
}  # fmt: skip
_NUKTA = {"ज": "Z", "ड": "R", "ढ": "R", "फ": "F", "ग": "G", "क": "K", "ख": "K"}
_HINDI_VOWELS = {
    "अ": "AH", "आ": "AA", "इ": "IH", "ई": "IY", "उ": "UH", "ऊ": "UW", "ऋ": "R IH", "ए": "EY", "ऐ": "EH", "ऑ": "AO",
    "ओ": "OW", "औ": "AO", "ऍ": "EH",
}  # fmt: skip
_MATRAS = {
    "ा": "AA", "ि": "IH", "ी": "IY", "ु": "UH", "ू": "UW", "ृ": "R IH", "े": "EY", "ै": "EH", "ॅ": "EH", "ॉ": "AO",
    "ो": "OW", "ौ": "AO",
}  # fmt: skip
_VIRAMA, _NUKTA_SIGN, _NASAL = "्", "़", "ंँ"
_SCHWA = "AH"
_TABLES: Mapping[str, Mapping[str, str]] = {"en": _ENGLISH, "de": _GERMAN}
LANGUAGES = ("en", "de", "hi")


def rough_phones(word: str, lang: str) -> list[str]:
    """ARPAbet phones of a written word; letters without a rule are silent.

    Args:
        word: one word, in any case.
        lang: ``en``, ``de`` or ``hi``; digits must have been verbalised before.

    Raises:
        UserError: if the language has no rules.
    """
    if lang == "hi":
        return _hindi(unicodedata.normalize("NFD", word))
    if lang not in _TABLES:
        raise UserError(f"there are no letter rules for language {lang!r}; choose one of {', '.join(LANGUAGES)}")
    return _by_table(unicodedata.normalize("NFC", word.casefold() if lang == "en" else word.lower()), lang)


def _by_table(word: str, lang: str) -> list[str]:
    """Phones by leftmost longest match in the rules."""
    table = _TABLES[lang]
    # A doubled consonant is a single phone; a final e is silent in English and a schwa in German.
    letters = re.sub(r"([b-df-hj-np-rt-vwxz])\1", r"\1", word)
    if lang == "en":
        letters = re.sub(r"'s$", "z" if not letters.endswith(("s's", "x's")) else "iz", letters).replace("'", "")
        letters = re.sub(r"(?<=[a-z]{2})e(d?)$", r"\1", letters) if not re.search("[td]ed$", letters) else letters
        letters = re.sub("c(?=[eiy])", "s", letters)
        letters = re.sub("^y(?=[aeiou])", "j", letters) if letters != "y" else letters
    else:
        # s is voiceless before a consonant and word-finally; initial st- and sp- start with sh.
        letters = re.sub("^s(?=[tp])", "sch", letters)
        letters = re.sub(r"(?<!s)s(?=$|[tpkf])", "ß", letters)
    phones: list[str] = []
    index = 0
    while index < len(letters):
        for width in range(min(4, len(letters) - index), 0, -1):
            if (sound := table.get(letters[index : index + width])) is not None:
                phones += sound.split()
                index += width
                break
        else:
            index += 1
    return phones


def _hindi(word: str) -> list[str]:
    """Phones of the aksharas, with schwa deletion by Ohala's rule: between VC and CV, from the right."""
    parts: list[tuple[list[str], str | None, bool]] = []  # consonants, vowel, whether a nasal sign follows
    index = 0
    while index < len(word):
        letter = word[index]
        if letter in _HINDI_VOWELS:
            parts.append(([], _HINDI_VOWELS[letter], False))
        elif letter in _HINDI_CONSONANTS:
            sound = _HINDI_CONSONANTS[letter]
            if word[index + 1 : index + 2] == _NUKTA_SIGN:
                sound, index = _NUKTA.get(letter, sound), index + 1
            joined = parts and parts[-1][1] == _VIRAMA
            before = parts.pop()[0] if joined else []
            parts.append(([*before, sound], None, False))
        elif letter in _MATRAS and parts:
            parts[-1] = (parts[-1][0], _MATRAS[letter], parts[-1][2])
        elif letter == _VIRAMA and parts:
            parts[-1] = (parts[-1][0], _VIRAMA, parts[-1][2])
        elif letter in _NASAL and parts:
            parts[-1] = (parts[-1][0], parts[-1][1], True)
        index += 1
    vowels = [_SCHWA if vowel is None else ("" if vowel == _VIRAMA else vowel) for _, vowel, _ in parts]
    inherent = [vowel is None and not nasal for _, vowel, nasal in parts]
    if len(parts) > 1 and inherent[-1]:
        vowels[-1] = ""
    for index in range(len(parts) - 2, 0, -1):
        single = len(parts[index][0]) == 1 and len(parts[index + 1][0]) == 1
        if inherent[index] and single and vowels[index - 1] and vowels[index + 1]:
            vowels[index] = ""
    phones: list[str] = []
    for (consonants, _, nasal), vowel in zip(parts, vowels, strict=True):
        phones += [*consonants, *vowel.split(), *(["N"] if nasal else [])]
    return phones
