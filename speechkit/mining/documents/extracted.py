"""Output of the format readers, and the limits on one document."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import msgspec

from speechkit.mining.records import Removed

_UNPRINTABLE = re.compile(r"[\x01-\x08\x0e-\x1b\x1f\x7f\ufeff\ufffe\uffff]")
_SEPARATORS = dict.fromkeys(map(ord, "\x00\x0b\x1c\x1d\x1e\x85\u2028"), " ")  # Word's line break is a vertical tab
_INVISIBLE = dict.fromkeys([
    0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2065), *range(0x2066, 0x206A), 0xFEFF,
])  # fmt: skip
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class DocumentLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits on one document: a hostile or damaged file gives an error message instead of exhausting memory."""

    max_file_bytes: int = 500_000_000
    max_pages: int = 5_000
    max_characters: int = 20_000_000
    max_member_bytes: int = 100_000_000  # one unpacked member of a DOCX or EPUB
    max_members: int = 20_000
    max_seconds: float = 300.0  # reading the text of one document, without OCR
    max_memory_bytes: int = 2_000_000_000  # the process that reads it
    ocr_seconds_per_page: float = 60.0
    ocr_dots_per_inch: int = 300
    max_sentence_characters: int = 400


@dataclass(frozen=True)
class Line:
    """A printed line. ``top`` grows downwards, ``left`` to the right (points or pixels); 0 if unknown."""

    text: str
    top: float = 0.0
    size: float = 0.0
    left: float = 0.0


@dataclass
class PrintedPage:
    """The lines of a page in reading order; an empty line marks a detected paragraph break."""

    number: int
    lines: list[Line]


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of a format with explicit paragraphs; ``page`` is 1-based."""

    text: str
    page: int = 1


@dataclass
class Extracted:
    """An extracted document: printed pages whose lines must be joined, or paragraphs."""

    kind: str
    pages: list[PrintedPage] = field(default_factory=list)
    paragraphs: list[Paragraph] = field(default_factory=list)
    removed: list[Removed] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def printable(text: str) -> str:
    """The text without control characters; those that separate words become spaces.

    Unpaired surrogates become the replacement character.
    """
    return _SURROGATE.sub("\ufffd", _UNPRINTABLE.sub("", text.translate(_SEPARATORS)))


def visible(text: str) -> str:
    """The text without soft hyphens, zero-width spaces and marks of direction; joiners of Indic words stay."""
    return text.translate(_INVISIBLE)
