"""Verbalise English written forms: numbers, money, times, percentages and common abbreviations.

Unchanged: contractions, spelling variants, Roman numerals except after "chapter", "part" and similar words,
and dates written with slashes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from speechkit.text.english_numbers import cardinal, decimal, digits_in_words, is_year, ordinal, plural, year
from speechkit.text.normalized import Normalized, map_characters, replace_matches

ABBREVIATIONS = {
    "Mr.": "mister", "Mrs.": "missus", "Ms.": "miz", "Dr.": "doctor", "Prof.": "professor", "Rev.": "reverend",
    "Hon.": "honorable", "Gen.": "general", "Col.": "colonel", "Capt.": "captain", "Lieut.": "lieutenant",
    "Lt.": "lieutenant", "Sgt.": "sergeant", "Maj.": "major", "Gov.": "governor", "Sen.": "senator",
    "Rep.": "representative", "St.": "saint", "Jr.": "junior", "Sr.": "senior", "Messrs.": "messieurs",
    "Mt.": "mount", "Ft.": "fort", "Esq.": "esquire", "Jan.": "january", "Feb.": "february", "Aug.": "august",
    "Sept.": "september", "Oct.": "october", "Nov.": "november", "Dec.": "december", "etc.": "et cetera",
    "vs.": "versus", "approx.": "approximately", "dept.": "department", "Dept.": "department", "govt.": "government",
    "Inc.": "incorporated", "Ltd.": "limited", "Corp.": "corporation", "Bros.": "brothers",
}  # fmt: skip
WITHOUT_DOT = {  # also without the dot, in any case: no English word has the same spelling
    "mr": "mister", "mrs": "missus", "ms": "miz", "dr": "doctor", "prof": "professor", "jr": "junior", "sr": "senior",
    "inc": "incorporated", "ltd": "limited", "corp": "corporation", "vs": "versus", "dept": "department",
    "govt": "government", "lt": "lieutenant", "sgt": "sergeant", "messrs": "messieurs", "approx": "approximately",
}  # fmt: skip
BEFORE_NUMBERS = {"No.": "number", "no.": "number", "Nos.": "numbers", "Vol.": "volume", "vol.": "volume",
                  "Ch.": "chapter", "ch.": "chapter", "pp.": "pages", "p.": "page", "Fig.": "figure",
                  "fig.": "figure", "Sec.": "section", "sec.": "section", "Art.": "article"}  # fmt: skip
CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "¥": ("yen", "yen", "sen", "sen"),
}
SCALES = {"k": "thousand", "m": "million", "mn": "million", "bn": "billion", "b": "billion", "tn": "trillion"}
UNITS = {
    "km": "kilometers", "kg": "kilograms", "cm": "centimeters", "mm": "millimeters", "mph": "miles per hour",
    "lbs": "pounds", "hrs": "hours", "mins": "minutes", "°c": "degrees celsius", "°f": "degrees fahrenheit",
    "°": "degrees",
}  # fmt: skip
FRACTIONS = {"½": "one half", "¼": "one quarter", "¾": "three quarters", "⅓": "one third", "⅔": "two thirds"}
_LETTERS = {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"


def _any_of(words: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


_NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_WRITTEN_NUMBER = re.compile(
    rf"""
    (?=[0-9$£€₹¥½¼¾⅓⅔]|[.\u2212-]\.?[0-9])(?:  # most places fail here, at the cost of one look
      (?P<currency>[$£€₹¥])\s?(?P<amount>{_NUMBER})(?:\.(?P<cents>[0-9]+))?
        (?:\s?(?P<scale>(?i:hundred|thousand|million|billion|trillion|mn|bn|tn|[mbk]))\b)?
    | (?P<hour>(?<![0-9])(?:[01]?[0-9]|2[0-3])):(?P<minute>[0-5][0-9])(?![0-9:])(?P<half>\s?(?i:[ap]\.?m\b))?
    | (?P<ordinal>{_NUMBER})(?i:st|nd|rd|th)\b
    | (?P<decade>(?:1[1-9]|20)?[2-9]0)'?s\b
    | (?P<range_from>(?<![0-9.,:-])[0-9]{{1,4}})\s?[-\u2013]\s?(?P<range_to>[0-9]{{1,4}})
        (?![0-9.,:-]*[0-9]|(?i:st|nd|rd|th))
    | (?P<dotted>[0-9]+(?:\.[0-9]+){{2,}})
    | (?P<sign>(?<![^\s(])[-\u2212])?(?P<whole>{_NUMBER})?\.(?P<decimals>[0-9]+)
    | (?P<minus>(?<![^\s(])[-\u2212])?(?P<cardinal>{_NUMBER})(?P<fraction>[½¼¾⅓⅔])?
    | (?P<vulgar>[½¼¾⅓⅔])
    )
    """,
    re.VERBOSE,
)
_DIGIT = re.compile("[0-9]")
_AFTER_NUMBER = re.compile(
    r"(?P<number>[0-9½¼¾⅓⅔])\s?(?P<unit>%|(?i:per\ cent)\b|(?i:km|kg|cm|mm|mph|lbs|hrs|mins|°c|°f)\b|°)", re.X
)
_ABBREVIATION = re.compile(rf"(?<!\w)(?:{_any_of(ABBREVIATIONS)})")
_WITHOUT_DOT = re.compile(rf"(?<![\w'])(?:{_any_of(WITHOUT_DOT)})(?![\w'])")
_STREET = re.compile(  # "Main St.", "5th St. and"; not "in St. Louis", "Mount St. Helens"
    r"(?<=[a-z0-9]\ )(?<!\b(?:at|by|in|of|on|to)\ )(?<!\b(?:and|for|the)\ )(?<!\b(?:from|near|with)\ )"
    r"St\.(?!\s*[A-Z][a-z])"
)
_FILLER = re.compile(  # "uh-huh" and "uh-oh" are words
    r"(?<!\w)(?<!\w['’])(?:u+h+m*(?![ -](?:huh|oh)\b)|u+m+|h+m+|m{2,}|mhm|erm|er|ehm?)(?!['’]?\w)", re.IGNORECASE
)
_MARK = re.compile(r"<[A-Za-z_/ -]{1,32}>|\[[A-Za-z_/ -]{1,32}\]")
_BEFORE_NUMBER = re.compile(rf"(?<!\w)(?:{_any_of(BEFORE_NUMBERS)})(?=\s?[0-9])")
_ROMAN = re.compile(
    r"\b(?P<word>Chapter|CHAPTER|Book|BOOK|Part|PART|Volume|VOLUME|Act|ACT|Scene|SCENE|Section|SECTION|Canto|CANTO)\s+"
    r"(?P<roman>(?:X[LC]|L?X{0,3})(?:I[XV]|V?I{0,3}))(?<=[XVILC])\b(?!(?<=\sI)\s[a-z])"  # not "Part I played"
)
_SPOKEN_VARIANT = re.compile(
    r"\b(?:(?P<scale>hundred|thousand|million|billion)\ and(?=\ (?:one|two|three|four|five|six|seven|eight|nine|ten"
    r"|eleven|twelve|\w{3,5}teen|\w{3,5}ty|a\ (?:hundred|thousand|million|billion))\b)"
    r"|(?P<one>a)(?=\ (?:hundred|thousand|million|billion)\b)"
    r"|(?P<percent>per\ cent)|(?P<okay>ok)|(?P<zero>o)(?=\ (?:one|two|three|four|five|six|seven|eight|nine)\b))\b",
    re.VERBOSE,
)


def _plain_digits(number: str) -> str:
    return number.replace(",", "")


def _money(match: re.Match[str]) -> str:
    one, many, small_one, small_many = CURRENCIES[match["currency"]]
    amount, cents, scale = _plain_digits(match["amount"]), match["cents"], match["scale"]
    if scale:
        scale = SCALES.get(scale.lower(), scale.lower())
        return f"{decimal(amount, cents) if cents else cardinal(amount)} {scale} {many}"
    if cents and len(cents) != 2:
        return f"{decimal(amount, cents)} {many}"
    whole = f"{cardinal(amount)} {one if amount == '1' else many}"
    if not cents or cents == "00":
        return whole
    small = f"{cardinal(str(int(cents)))} {small_one if cents == '01' else small_many}"
    return small if amount == "0" else f"{whole} and {small}"


def _time(match: re.Match[str]) -> str:
    hour, minute = cardinal(str(int(match["hour"]))), match["minute"]
    half = f" {match['half'].strip()[0].lower()} m" if match["half"] else ""
    if minute == "00":
        return hour + (half or " o'clock")
    return f"{hour} {'oh ' + cardinal(minute[1]) if minute[0] == '0' else cardinal(minute)}{half}"


def _bare(number: str) -> str:
    return year(number) if is_year(number) else cardinal(_plain_digits(number))


def _range(first: str, last: str) -> str:
    if len(first) == 3 and len(last) == 4:  # a telephone number
        return f"{digits_in_words(first)} {digits_in_words(last)}"
    return f"{_bare(first)} to {_bare(last)}"


def _in_words(match: re.Match[str]) -> str:
    if match["currency"]:
        words = _money(match)
    elif match["hour"]:
        words = _time(match)
    elif match["ordinal"]:
        words = ordinal(_plain_digits(match["ordinal"]))
    elif match["decade"]:
        words = plural(year(match["decade"]) if len(match["decade"]) == 4 else cardinal(match["decade"]))
    elif match["range_from"]:
        words = _range(match["range_from"], match["range_to"])
    elif match["dotted"]:
        words = " point ".join(cardinal(part) for part in match["dotted"].split("."))
    elif match["decimals"]:
        whole = _plain_digits(match["whole"] or "")
        words = ("minus " if match["sign"] else "") + decimal(whole, match["decimals"])
    elif match["cardinal"]:
        words = ("minus " if match["minus"] else "") + _bare(match["cardinal"])
        if match["fraction"]:
            words += f" and {FRACTIONS[match['fraction']]}"
    else:
        words = FRACTIONS[match["vulgar"]]
    return f" {words} "


def numbers_to_words(text: str) -> Normalized:
    """Verbalise numbers in ASCII digits, with currency, percent sign, unit, ordinal suffix or clock colon."""
    with_units = replace_matches(
        text, _AFTER_NUMBER, lambda m: f"{m['number']} {UNITS.get(m['unit'].lower(), 'percent')} "
    )
    return with_units.then(lambda inner: replace_matches(inner, _WRITTEN_NUMBER, _in_words))


def spell_digits(text: str) -> Normalized:
    """Replace every ASCII digit by its word, for strings that are read digit by digit."""
    return replace_matches(text, _DIGIT, lambda match: f" {digits_in_words(match[0])} ")


def expand_abbreviations(text: str) -> Normalized:
    """Expand titles, months, "No. 5", "Chapter IV" and "&"."""
    spelled = replace_matches(text, _STREET, lambda match: "street ")
    spelled = spelled.then(
        lambda inner: replace_matches(inner, _ABBREVIATION, lambda match: f"{ABBREVIATIONS[match.group()]} ")
    )
    spelled = spelled.then(
        lambda inner: replace_matches(inner, _BEFORE_NUMBER, lambda match: f"{BEFORE_NUMBERS[match.group()]} ")
    )
    spelled = spelled.then(
        lambda inner: replace_matches(inner, _ROMAN, lambda match: f"{match['word']} {_roman_value(match['roman'])}")
    )
    return spelled.then(lambda inner: map_characters(inner, lambda c: " and " if c == "&" else c))


def expand_titles(text: str) -> Normalized:
    """Expand titles and similar abbreviations without a dot (mr, dr, inc), in text without case and punctuation."""
    return replace_matches(text, _WITHOUT_DOT, lambda match: WITHOUT_DOT[match.group()])


def _roman_value(numeral: str) -> int:
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}[letter] for letter in numeral]
    following = [*values[1:], 0]
    return sum(-value if value < after else value for value, after in zip(values, following, strict=True))


def fold_latin_letters(text: str) -> Normalized:
    """Remove diacritics from Latin letters, as English recognisers do, and superscript digits (note marks)."""

    def fold(character: str) -> str:
        if character < "\x80":
            return character
        if character in _SUPERSCRIPTS or "\u0300" <= character <= "\u036f":
            return ""
        if character in _LETTERS:
            return _LETTERS[character]
        base = unicodedata.normalize("NFD", character)[0]
        return base if base.isascii() and base.isalpha() else character

    return map_characters(text, fold)


def drop_marks(text: str) -> Normalized:
    """Replace transcriber tags (``<inaudible>``, ``[laughter]``) by a space."""
    return replace_matches(text, _MARK, lambda match: " ")


def drop_fillers(text: str) -> Normalized:
    """Replace hesitations (uh, um, hmm) by a space."""
    return replace_matches(text, _FILLER, lambda match: " ")


def count_fillers(text: str) -> int:
    """Number of items that `drop_marks` and `drop_fillers` remove from an unnormalised text."""
    return sum(1 for _ in _MARK.finditer(text)) + sum(1 for _ in _FILLER.finditer(_MARK.sub(" ", text)))


def unify_spoken_variants(text: str) -> Normalized:
    """Unify variants of one spoken form: "hundred and two", "a hundred", "per cent", "ok", "nineteen o five"."""

    def unify(match: re.Match[str]) -> str:
        if match["scale"]:
            return match["scale"]
        return {"one": "one", "percent": "percent", "okay": "okay", "zero": "oh"}[match.lastgroup or "okay"]

    return replace_matches(text, _SPOKEN_VARIANT, unify)
