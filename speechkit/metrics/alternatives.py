"""Alternatives for parts of a reference: braces, a file of equivalent phrases, English numbers and spellings.

"20 %" for "twenty percent" is not an error. `speechkit.metrics.lattice` chooses the alternative with the fewest errors
for each hypothesis.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from speechkit.errors import UserError
from speechkit.metrics.lattice import Choice
from speechkit.metrics.spellings import spelling_groups
from speechkit.metrics.text_lines import numbered_lines
from speechkit.text.english_numbers import (
    ONES,
    SCALES,
    TENS,
    cardinal,
    digits_in_words,
    is_year,
    ordinal,
    with_and,
    year,
)

BRACES = re.compile(r"\{([^{}]*/[^{}]*)\}")
NAMED_ALTERNATIVES = ("braces", "numbers", "spellings")
NOTHING = "@"
MOST_WAYS = 64
"""Most alternatives of a brace, nested braces included."""
LONGEST_NUMBER = 24  # words of a number that is written in digits
_ORDINAL = re.compile(r"([0-9]+)(?:st|nd|rd|th)\Z", re.IGNORECASE)
_UNITS = {word: value for value, word in enumerate(ONES)}
_TENS = {word: 10 * value for value, word in enumerate(TENS) if value >= 2}
_SCALES = {word: 1000**power for power, word in enumerate(SCALES) if word}
_ORDINALS = {ordinal(str(value)): value for value in range(1, 32)}


class Alternatives(msgspec.Struct, frozen=True):
    """Which alternatives are allowed: ``{ a / b }`` in references, numbers, spellings, groups of equivalent phrases."""

    braces: bool = False
    numbers: bool = False
    spellings: bool = False
    groups: tuple[tuple[str, ...], ...] = ()

    def __bool__(self) -> bool:
        return self.braces or self.numbers or self.spellings or bool(self.groups)


def read_groups(path: Path | str) -> tuple[tuple[str, ...], ...]:
    """Groups of equivalent phrases: one group per line, phrases separated by tabs; ``#`` starts a comment line.

    Raises:
        UserError: with ``file:line`` if a line has fewer than two phrases.
    """
    groups = []
    for number, line in numbered_lines(Path(path)):
        if line.startswith("#"):
            continue
        phrases = tuple(phrase.strip() for phrase in line.split("\t"))
        if len(phrases) < 2:
            raise UserError(f"{path}:{number}: has one phrase; separate equivalent ones by tabs ({NOTHING}: nothing)")
        groups.append(phrases)
    return tuple(groups)


class Ways:
    """Alternatives under one normaliser, prepared for many references."""

    def __init__(self, alternatives: Alternatives, normalize: Callable[[str], str]) -> None:
        self.alternatives = alternatives
        self.normalize = normalize
        self.phrases: dict[str, list[tuple[tuple[str, ...], list[tuple[str, ...]]]]] = {}
        groups = alternatives.groups + (spelling_groups() if alternatives.spellings else ())
        for group in groups:
            forms = list(dict.fromkeys(self._words(phrase) for phrase in group))
            for form in forms:
                if form:
                    others = [other for other in forms if other != form]
                    self.phrases.setdefault(form[0], []).append((form, others))

    def of(self, text: str) -> tuple[list[str], list[Choice]]:
        """The normalised words of a reference (the first alternative of every brace), and its choices."""
        words, choices = self._in_braces(text) if self.alternatives.braces else (list(self._words(text)), [])
        candidates = list(self._equivalent(words))
        if self.alternatives.numbers:
            candidates += _numbers(words)
        written = {(c.begin, c.end, c.words) for c in choices}
        for choice in candidates:
            key = (choice.begin, choice.end, choice.words)
            if key not in written and tuple(words[choice.begin : choice.end]) != choice.words:
                written.add(key)
                choices.append(choice)
        return words, choices

    def _words(self, text: str) -> tuple[str, ...]:
        return () if text.strip() == NOTHING else tuple(self.normalize(text).split())

    def _in_braces(self, text: str) -> tuple[list[str], list[Choice]]:
        words: list[str] = []
        choices: list[Choice] = []
        cursor = 0
        for begin, end in _outer_braces(text):
            words += self._words(text[cursor:begin])
            first, *others = (self._words(way) for way in _ways(text[begin + 1 : end - 1], text))
            if not first:  # an empty text can be an alternative but not the reference
                first, others = next((way for way in others if way), ()), [(), *others]
            if first:
                span = (len(words), len(words) + len(first))
                words += first
                choices += [Choice(*span, way) for way in dict.fromkeys(others) if way != first]
            cursor = end
        return words + list(self._words(text[cursor:])), choices

    def _equivalent(self, words: Sequence[str]) -> Iterator[Choice]:
        for begin, word in enumerate(words):
            for form, others in self.phrases.get(word, ()):
                if tuple(words[begin : begin + len(form)]) == form:
                    yield from (Choice(begin, begin + len(form), other) for other in others)


def _outer_braces(text: str) -> Iterator[tuple[int, int]]:
    """Begin and end of each outermost brace with alternatives.

    Raises:
        UserError: if a brace is unbalanced.
    """
    depth, begin = 0, 0
    for place, character in enumerate(text):
        if character == "{":
            begin = begin if depth else place
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0 and "/" in text[begin:place]:
                yield begin, place + 1
        if depth < 0:
            break
    if depth:
        raise UserError(f"the reference {text[:60]!r} has an unbalanced brace; alternatives are written {{ a / b }}")


def _ways(inside: str, text: str) -> list[str]:
    """All alternatives of a brace; those of nested braces in order."""
    parts, depth, begin = [], 0, 0
    for place, character in enumerate(f"{inside}/"):
        depth += (character == "{") - (character == "}")
        if character == "/" and depth == 0:
            parts.append(inside[begin:place])
            begin = place + 1
    ways = []
    for part in parts:
        read, cursor = [""], 0
        for first, last in _outer_braces(part):
            inner = _ways(part[first + 1 : last - 1], text)
            read = [f"{before}{part[cursor:first]} {way} " for before in read for way in inner]
            if len(read) > MOST_WAYS:
                break
            cursor = last
        ways += [before + part[cursor:] for before in read]
        if len(ways) > MOST_WAYS:
            raise UserError(
                f"the reference {text[:60]!r} has a brace with more than {MOST_WAYS} alternatives; use fewer"
            )
    return [NOTHING if NOTHING in (words := way.split()) and set(words) == {NOTHING} else way for way in ways]


def _numbers(words: Sequence[str]) -> Iterator[Choice]:
    for begin, word in enumerate(words):
        for way in dict.fromkeys(_said(word)):
            yield Choice(begin, begin + 1, tuple(way.split()))
        if word not in _UNITS and word not in _TENS and word not in _ORDINALS:
            continue
        for end in range(begin + 1, min(len(words), begin + LONGEST_NUMBER) + 1):
            for way in _written(words[begin:end]):
                yield Choice(begin, end, tuple(way.split()))


def _said(word: str) -> Iterator[str]:
    """Ways to speak a number in digits."""
    if match := _ORDINAL.match(word):
        yield ordinal(match[1])
    elif word.isascii() and word.isdigit() and len(word) <= 15:
        yield cardinal(word)
        yield with_and(cardinal(word))
        yield digits_in_words(word)
        if is_year(word):
            yield year(word)
            yield f"{cardinal(word[:2])} {cardinal(word[2:])}"


def _written(words: Sequence[str]) -> Iterator[str]:
    """Other ways to write number words: a cardinal, a year in two halves, an ordinal up to 31st."""
    value = _cardinal_value(words)
    if value is not None:
        yield str(value)
        yield cardinal(str(value))
        yield with_and(cardinal(str(value)))
    for cut in range(1, len(words)):
        first, second = _cardinal_value(words[:cut]), _cardinal_value(words[cut:])
        if first is not None and second is not None and 10 <= first <= 99 and 10 <= second <= 99:
            yield f"{first}{second}"
    day = _ORDINALS.get(" ".join(words))
    if day is not None:
        teen = 10 < day % 100 < 14
        yield f"{day}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th')}"


def _cardinal_value(words: Sequence[str]) -> int | None:
    """The value of a cardinal in words, or None if the words are not one well-formed cardinal."""
    total = current = 0
    before = ""
    for word in words:
        if word == "and" and (before == "hundred" or before in _SCALES):
            before = word
            continue
        before = word
        if word in _UNITS:
            current += _UNITS[word]
        elif word in _TENS:
            current += _TENS[word]
        elif word == "hundred":
            current *= 100
        elif word in _SCALES:
            total, current = total + current * _SCALES[word], 0
        else:
            return None
    value = total + current
    # Checked by writing it out again, so that "twenty twenty" and "one two" are not cardinals.
    plain = cardinal(str(value))
    return value if list(words) in (plain.split(), with_and(plain).split()) else None
