"""Verbalise English numbers: cardinals, ordinals, years, decimals."""

from __future__ import annotations

_ONES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen
"""
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety"
ONES = tuple(_ONES.split())
TENS = tuple(_TENS.split())
SCALES = ("", "thousand", "million", "billion", "trillion")
_IRREGULAR_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
LONGEST_CARDINAL = 15  # digits; a longer number is read digit by digit


def _below_thousand(number: int) -> list[str]:
    words: list[str] = []
    if number >= 100:
        words += [ONES[number // 100], "hundred"]
        number %= 100
    if number >= 20:
        words.append(TENS[number // 10])
        number %= 10
    if number:
        words.append(ONES[number])
    return words


def digits_in_words(digits: str) -> str:
    """Digit by digit: ``007`` is "zero zero seven"."""
    return " ".join(ONES[int(digit)] for digit in digits)


def cardinal(digits: str) -> str:
    """Cardinal of ASCII digits, without "and"; long numbers and numbers with leading zeros digit by digit."""
    if len(digits) > LONGEST_CARDINAL or (len(digits) > 1 and digits[0] == "0"):
        return digits_in_words(digits)
    number = int(digits)
    if number == 0:
        return "zero"
    groups: list[list[str]] = []
    for scale in SCALES:
        number, group = divmod(number, 1000)
        if group:
            groups.append(_below_thousand(group) + ([scale] if scale else []))
    return " ".join(word for group in reversed(groups) for word in group)


def with_and(words: str) -> str:
    """British form of a cardinal: "five hundred and one thousand and two"."""
    given = words.split()
    read = given[:1]
    for index in range(1, len(given)):
        before, rest = given[index - 1], given[index:]
        last_group = before in SCALES and not {"hundred", *SCALES} & set(rest)
        if last_group or (before == "hundred" and rest[0] not in SCALES):
            read.append("and")
        read.append(rest[0])
    return " ".join(read)


def ordinal(digits: str) -> str:
    """Ordinal of ASCII digits: ``21`` is "twenty first"."""
    *first, last = cardinal(digits).split()
    if last in _IRREGULAR_ORDINALS:
        last = _IRREGULAR_ORDINALS[last]
    elif last.endswith("y"):
        last = last[:-1] + "ieth"
    else:
        last += "th"
    return " ".join([*first, last])


def year(digits: str) -> str:
    """Four digits read as a year: "nineteen eighty four", "nineteen oh five", "two thousand nine", "twenty ten"."""
    century, rest = int(digits[:2]), int(digits[2:])
    if century % 10 == 0 and rest < 10:
        return cardinal(digits)
    first = cardinal(str(century))
    if rest == 0:
        return f"{first} hundred"
    return f"{first} oh {ONES[rest]}" if rest < 10 else f"{first} {cardinal(str(rest))}"


def is_year(digits: str) -> bool:
    """Whether a number on its own is read as a year: four digits from 1100 to 2099."""
    return len(digits) == 4 and "1100" <= digits <= "2099"


def decimal(whole: str, fraction: str) -> str:
    """Decimal fraction: ``3.14`` is "three point one four"."""
    return f"{cardinal(whole)} point {digits_in_words(fraction)}" if whole else f"point {digits_in_words(fraction)}"


def plural(words: str) -> str:
    """Plural of a number in words: "nineteen nineties"."""
    return words[:-1] + "ies" if words.endswith("y") else words + ("es" if words.endswith("six") else "s")
