"""Verbalise German numbers: cardinals, ordinals with endings, years, decimals."""

from __future__ import annotations

_ONES = """
null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn
neunzehn
"""
ONES = tuple(_ONES.split())
TENS = ("", "", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")
SCALES = (("Million", "Millionen"), ("Milliarde", "Milliarden"), ("Billion", "Billionen"), ("Billiarde", "Billiarden"))
_IRREGULAR_ORDINALS = {"null": "nullt", "eins": "erst", "drei": "dritt", "sieben": "siebt", "acht": "acht"}
LONGEST_CARDINAL = 15  # digits; a longer number is read digit by digit


def _below_hundred(number: int) -> str:
    if number < 20:
        return ONES[number]
    tens, ones = divmod(number, 10)
    return f"{ONES[ones]}und{TENS[tens]}" if ones else TENS[tens]


def _below_million(number: int) -> str:
    """Cardinal as one word, ending in ``ein`` rather than ``eins``."""
    thousands, rest = divmod(number, 1000)
    words = f"{_below_million(thousands)}tausend" if thousands else ""
    hundreds, rest = divmod(rest, 100)
    words += f"{ONES[hundreds]}hundert" if hundreds else ""
    return words + (_below_hundred(rest) if rest or not number else "")


def digits_in_words(digits: str) -> str:
    """Digit by digit: ``007`` is "null null sieben"."""
    return " ".join("eins" if digit == "1" else ONES[int(digit)] for digit in digits)


def cardinal(digits: str) -> str:
    """Cardinal of ASCII digits; long numbers and numbers with leading zeros digit by digit."""
    if len(digits) > LONGEST_CARDINAL or (len(digits) > 1 and digits[0] == "0"):
        return digits_in_words(digits)
    above, below = divmod(int(digits), 1_000_000)
    groups: list[str] = []
    for one, many in SCALES:
        above, group = divmod(above, 1000)
        if group:
            groups.append(f"eine {one}" if group == 1 else f"{_below_million(group)} {many}")
    words = groups[::-1]
    if below or not words:
        last = _below_million(below)
        words.append(last + "s" if last.endswith("ein") else last)
    return " ".join(words)


def ordinal(digits: str, ending: str = "e") -> str:
    """Ordinal of ASCII digits: ``21`` is "einundzwanzigste", or "einundzwanzigsten" with ``ending`` "en"."""
    words = cardinal(digits)
    number = int(digits)
    small = number % 100
    if small in (1, 3, 7, 8) or not number:
        last = "eins" if small == 1 else ONES[small]
        return words.removesuffix(last) + _IRREGULAR_ORDINALS[last] + ending
    return words + ("t" if 0 < small < 20 else "st") + ending


def year(digits: str) -> str:
    """Four digits read as a year: "neunzehnhundertvierundachtzig", "zweitausendneun"."""
    century, rest = divmod(int(digits), 100)
    if 11 <= century <= 19:
        words = f"{ONES[century]}hundert" + (_below_hundred(rest) if rest else "")
        return words + "s" if words.endswith("ein") else words
    return cardinal(digits)


def is_year(digits: str) -> bool:
    """Whether a number on its own is read as a year: four digits from 1100 to 2099."""
    return len(digits) == 4 and "1100" <= digits <= "2099"


def decimal(whole: str, fraction: str) -> str:
    """Decimal fraction: ``3,14`` is "drei Komma eins vier"."""
    return f"{cardinal(whole)} Komma {digits_in_words(fraction)}"
