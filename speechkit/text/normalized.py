"""Normalised text with offsets into its source, and the two primitives of all normalisation steps.

A step maps single characters (`map_characters`) or replaces the matches of a pattern (`replace_matches`). Both return
a `Normalized` whose offsets refer to the step's input; `Normalized.then` composes steps, so that the offsets of a chain
refer to the original text.
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
    """A normalised text with its alignment to the source.

    ``offsets`` has ``len(text) + 1`` entries, is non-decreasing, and lies in 0..len(source). Character ``i`` of
    ``text`` comes from ``source[offsets[i]:offsets[i + 1]]``; that range is empty where one source character became
    several, and includes characters dropped after it.
    """

    text: str
    offsets: Offsets

    def source_span(self, begin: int, end: int) -> tuple[int, int]:
        """Half-open range of source characters that ``text[begin:end]`` comes from."""
        return int(self.offsets[begin]), int(self.offsets[end])

    def then(self, step: Step) -> Normalized:
        """Apply ``step`` to the text; the offsets still refer to the original source."""
        following = step(self.text)
        if following.text is self.text:  # `unchanged`: the step had no effect
            return self
        return Normalized(following.text, self.offsets[following.offsets])


def unchanged(text: str) -> Normalized:
    """The text with identity offsets."""
    return Normalized(text, np.arange(len(text) + 1, dtype=np.int32))


def code_points(text: str) -> NDArray[np.uint32]:
    """Unicode code points of the text, shape (len(text),)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def from_code_points(codes: NDArray[np.uint32]) -> str:
    """Text from an array of code points."""
    return codes.astype("<u4", copy=False).tobytes().decode("utf-32-le", "surrogatepass")


def character_table(text: str, function: Callable[[str], int]) -> NDArray[np.uint8]:
    """``function`` of every character, shape (len(text),); called once per distinct character."""
    if not text:
        return np.zeros(0, np.uint8)
    distinct = set(text)
    table = np.zeros(max(map(ord, distinct)) + 1, np.uint8)
    for character in distinct:
        table[ord(character)] = function(character)
    return table[code_points(text)]


def keep_characters(text: str, keep: NDArray[np.bool_]) -> Normalized:
    """Keep the characters where ``keep``, shape (len(text),), is true."""
    if keep.all():
        return unchanged(text)
    offsets = np.append(np.flatnonzero(keep), len(text)).astype(np.int32)
    return Normalized(from_code_points(code_points(text)[keep]), offsets)


def map_characters(text: str, function: Callable[[str], str]) -> Normalized:
    """Replace every character by a string, possibly empty; ``function`` is called once per distinct character."""
    changed = {ord(character): new for character in set(text) if (new := function(character)) != character}
    if not changed:
        return unchanged(text)
    if all(len(new) == 1 for new in changed.values()):
        return Normalized(text.translate(changed), np.arange(len(text) + 1, dtype=np.int32))
    lengths = character_table(text, lambda character: len(changed.get(ord(character), character)))
    offsets = np.append(np.repeat(np.arange(len(text), dtype=np.int32), lengths), len(text)).astype(np.int32)
    return Normalized(text.translate(changed), offsets)


def replace_spans(text: str, spans: Iterable[tuple[int, int, str]]) -> Normalized:
    """Replace ``text[begin:end]`` by ``new`` for each ``(begin, end, new)``; spans are sorted and disjoint.

    The characters of a replacement are aligned evenly to the span that they replace.
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
    """Replace each match of ``pattern`` by ``function`` of it; None leaves the match unchanged."""
    replaced = ((match, function(match)) for match in pattern.finditer(text))
    return replace_spans(text, ((*match.span(), new) for match, new in replaced if new is not None))
