"""A text beside the text it came from, and the two primitives that every normalising step is made of.

A step changes characters one by one (`map_characters`) or replaces the matches of a pattern (`replace_matches`). Both
return a `Normalized` whose offsets lead back to the step's input; `Normalized.then` composes steps, so that the offsets
of a chain lead back to the text that a person wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Offsets = NDArray[np.int32]
Step = Callable[[str], "Normalized"]


@dataclass(frozen=True, eq=False)
class Normalized:
    """A normalised text with its way back.

    ``offsets`` has ``len(text) + 1`` entries, never falls, and stays within 0 and the source's length. Character ``i``
    of ``text`` came from ``source[offsets[i]:offsets[i + 1]]``; that stretch is empty where one source character became
    several, and holds what was dropped after the character as well.
    """

    text: str
    offsets: Offsets

    def source_span(self, begin: int, end: int) -> tuple[int, int]:
        """Source characters behind ``text[begin:end]``, as a half-open range."""
        return int(self.offsets[begin]), int(self.offsets[end])

    def then(self, step: Step) -> Normalized:
        """Apply ``step`` to the text and keep offsets into the first source."""
        following = step(self.text)
        if following.text is self.text:  # `unchanged`: the step found nothing to do
            return self
        return Normalized(following.text, self.offsets[following.offsets])


def unchanged(text: str) -> Normalized:
    """The text as its own normal form."""
    return Normalized(text, np.arange(len(text) + 1, dtype=np.int32))


def code_points(text: str) -> NDArray[np.uint32]:
    """Unicode code points of the text, shape (len(text),)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def from_code_points(codes: NDArray[np.uint32]) -> str:
    """The text of an array of code points."""
    return codes.astype("<u4", copy=False).tobytes().decode("utf-32-le", "surrogatepass")


def character_table(text: str, function: Callable[[str], int]) -> NDArray[np.uint8]:
    """``function`` of every character of the text, shape (len(text),); it is called once a distinct character."""
    if not text:
        return np.zeros(0, np.uint8)
    distinct = set(text)
    table = np.zeros(max(map(ord, distinct)) + 1, np.uint8)
    for character in distinct:
        table[ord(character)] = function(character)
    return table[code_points(text)]


def keep_characters(text: str, keep: NDArray[np.bool_]) -> Normalized:
    """The characters where ``keep``, shape (len(text),), is true."""
    if keep.all():
        return unchanged(text)
    offsets = np.append(np.flatnonzero(keep), len(text)).astype(np.int32)
    return Normalized(from_code_points(code_points(text)[keep]), offsets)


def map_characters(text: str, function: Callable[[str], str]) -> Normalized:
    """Replace every character by ``function`` of it, which may be empty or longer; called once a distinct character."""
    changed = {ord(character): new for character in set(text) if (new := function(character)) != character}
    if not changed:
        return unchanged(text)
    if all(len(new) == 1 for new in changed.values()):
        return Normalized(text.translate(changed), np.arange(len(text) + 1, dtype=np.int32))
    lengths = character_table(text, lambda character: len(changed.get(ord(character), character)))
    offsets = np.append(np.repeat(np.arange(len(text), dtype=np.int32), lengths), len(text)).astype(np.int32)
    return Normalized(text.translate(changed), offsets)


def replace_spans(text: str, spans: Iterable[tuple[int, int, str]]) -> Normalized:
    """Replace ``text[begin:end]`` by the new text for each ordered, disjoint ``(begin, end, new)``.

    The characters of a replacement are spread evenly over the stretch they replace.
    """
    pieces: list[str] = []
    starts: list[int] = []
    old_lengths: list[int] = []
    new_lengths: list[int] = []
    cursor = 0
    for begin, end, new in spans:
        pieces += (text[cursor:begin], new)
        starts += (cursor, begin)
        old_lengths += (begin - cursor, end - begin)
        new_lengths += (begin - cursor, len(new))
        cursor = end
    if not pieces:
        return unchanged(text)
    pieces.append(text[cursor:])
    starts.append(cursor)
    old_lengths.append(len(text) - cursor)
    new_lengths.append(len(text) - cursor)
    lengths = np.asarray(new_lengths, np.int64)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    spread = within * np.repeat(np.asarray(old_lengths, np.int64), lengths) // np.repeat(lengths, lengths)
    offsets = np.append(np.repeat(np.asarray(starts, np.int64), lengths) + spread, len(text)).astype(np.int32)
    return Normalized("".join(pieces), offsets)


def replace_matches(text: str, pattern: re.Pattern[str], function: Callable[[re.Match[str]], str | None]) -> Normalized:
    """Replace each match of ``pattern`` by ``function`` of it; None leaves the match as it is."""
    replaced = ((match, function(match)) for match in pattern.finditer(text))
    return replace_spans(text, ((*match.span(), new) for match, new in replaced if new is not None))
