"""Plain text and subtitles: encodings, hard-wrapped lines, cues."""

from __future__ import annotations

import codecs
import html
import re
from itertools import pairwise
from pathlib import Path

from speechkit.mining.documents.extracted import Extracted, Line, Paragraph, PrintedPage, printable

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CUE_PAUSE_SECONDS = 2.0  # a longer pause between cues begins a paragraph
_CUE_TIME = re.compile(
    r"^\s*(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})\s*-->\s*(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
)
_TAG = re.compile(r"<[^<>]{0,200}>|\{\\[^{}]{0,200}\}")


def decode(data: bytes, declared: str | None = None) -> tuple[str, list[str]]:
    """The text of some bytes, and what was uncertain about it.

    A byte order mark decides, then a declared encoding, then UTF-8; what is neither is read as Windows-1252 and said.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            text = data.decode(encoding, "replace")
            return text, ["some bytes are not valid " + encoding] if "\ufffd" in text else []
    if declared:
        try:
            return data.decode(declared), []
        except (LookupError, UnicodeDecodeError):
            pass
    try:
        return data.decode("utf-8"), [f"declared as {declared} but read as utf-8"] if _differs(declared) else []
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
        return text, ["the encoding is not UTF-8; read as Windows-1252 (cp1252), so some letters may be wrong"]


def _differs(declared: str | None) -> bool:
    return declared is not None and declared.lower().replace("-", "") != "utf8"


def read_text(path: Path) -> Extracted:
    """A plain text file: printed pages if it holds form feeds, else paragraphs."""
    text, warnings = decode(path.read_bytes())
    text = printable(text.replace("\r\n", "\n").replace("\r", "\n"))
    extracted = Extracted("text", warnings=warnings)
    pages = text.rstrip("\f\n ").split("\f")
    if len(pages) > 1:
        extracted.pages = [
            PrintedPage(number, [Line(" ".join(line.split())) for line in page.split("\n")])
            for number, page in enumerate(pages, 1)
        ]
    elif is_hard_wrapped(text):
        extracted.pages = [PrintedPage(1, [Line(" ".join(line.split())) for line in text.split("\n")])]
    else:
        extracted.paragraphs = [Paragraph(" ".join(line.split())) for line in text.split("\n") if line.strip()]
    return extracted


def is_hard_wrapped(text: str) -> bool:
    """Whether the lines are cut at a margin, so that a line end is only a space.

    They are when most lines that another follows reach nearly as far as the longest usual line, and that is a printed
    width (40 to 120 characters); otherwise every line is a paragraph.
    """
    lines = text.split("\n")
    widths = [len(line.rstrip()) for line, after in pairwise(lines) if line.strip() and after.strip()]
    if len(widths) < 3:
        return False
    usual = sorted(widths)[int(len(widths) * 0.95)]
    if not 40 <= usual <= 120:
        return False
    full = sum(width >= 0.75 * usual for width in widths)
    finished = sum(
        line.rstrip()[-1:] in ".!?।॥۔。" for line, after in pairwise(lines) if line.strip() and after.strip()
    )
    return full >= 0.6 * len(widths) and finished <= 0.6 * len(widths)


def read_subtitles(path: Path) -> Extracted:
    """The words of SRT or WebVTT cues; a pause of `CUE_PAUSE_SECONDS` begins a paragraph."""
    text, warnings = decode(path.read_bytes())
    lines = printable(text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")
    extracted = Extracted("subtitles", warnings=warnings)
    paragraph: list[str] = []
    last_end, shown = 0.0, ""
    inside = False
    for index, line in enumerate(lines):
        time = _CUE_TIME.match(line)
        if time:
            start, end = _seconds(*time.groups()[:4]), _seconds(*time.groups()[4:])
            if paragraph and start - last_end >= CUE_PAUSE_SECONDS:
                extracted.paragraphs.append(Paragraph(" ".join(paragraph)))
                paragraph = []
            last_end, inside = end, True
        elif not line.strip():
            inside = False
        elif inside and not _is_counter(lines, index):
            words = " ".join(html.unescape(_TAG.sub("", line)).split())
            if words and words != shown:  # rolling captions show each line twice
                paragraph.append(words)
                shown = words
    if paragraph:
        extracted.paragraphs.append(Paragraph(" ".join(paragraph)))
    return extracted


def _is_counter(lines: list[str], index: int) -> bool:
    """A number directly above a cue's time, where the blank line between cues is missing."""
    return lines[index].strip().isdigit() and index + 1 < len(lines) and bool(_CUE_TIME.match(lines[index + 1]))


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")
