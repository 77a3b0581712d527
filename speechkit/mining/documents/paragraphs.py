"""Group printed lines into paragraphs, and resolve hyphens at line ends."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from speechkit.mining.documents.extracted import Line, PrintedPage
from speechkit.text.english_numbers import ONES, TENS

GAP = 1.25  # times the usual distance of two lines: more is a paragraph break
SHORT = 0.8  # times the usual width of a line: a line that ends before it was not filled
INDENT = 0.6  # times the usual distance of two lines: a first line that stands in by more begins a paragraph
HEADING = 0.6  # times the usual width: a shorter line without a full stop may be a heading
_FINAL = re.compile(r"[.!?:…।॥۔؟。！？][\"'”’»›)\]」』]*$")
_BULLET = re.compile(r"(?:[-*•▪◦–]|\(?(?:\d{1,3}|[a-zA-Z])[.)])\s+\S")
_BROKEN = re.compile(r"([^\W\d_]+)[-\u2010\u00ad]$")
_WORD = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)*")
_FIRST_WORD = re.compile(r"[^\W\d_]+")
_HYPHENS = "-\u2010\u00ad"


@dataclass(frozen=True)
class PlacedLine:
    """A line of a paragraph and its page."""

    text: str
    page: int


def group_lines(pages: Sequence[PrintedPage]) -> list[list[PlacedLine]]:
    """The lines of the pages as paragraphs; one that runs across a page's end is one paragraph."""
    widths = sorted(len(line.text) for page in pages for line in page.lines if line.text)
    usual = widths[int(len(widths) * 0.9)] if widths else 0
    paragraphs: list[list[PlacedLine]] = []
    last: Line | None = None
    for page in pages:
        distance = _usual_distance(page.lines)
        broke = False
        first_of_page = True
        for line in page.lines:
            if not line.text:
                broke = True
                continue
            if last is None:
                fresh = True
            elif first_of_page:
                fresh = not _runs_on(last, line, usual)
            else:
                fresh = _begins_paragraph(last, line, distance, usual, broke)
            if fresh:
                paragraphs.append([])
            paragraphs[-1].append(PlacedLine(line.text, page.number))
            last, broke, first_of_page = line, False, False
    return paragraphs


def _usual_distance(lines: Sequence[Line]) -> float:
    tops = [line.top for line in lines if line.text]
    steps = [after - before for before, after in pairwise(tops) if after - before > 0.5]
    return statistics.median_low(steps) if steps else 0.0


def _runs_on(last: Line, line: Line, usual: int) -> bool:
    """Whether a page's first line continues the sentence of the previous page."""
    if _other_size(last, line) or _BULLET.match(line.text):
        return False
    if _BROKEN.search(last.text):
        return True
    if _FINAL.search(last.text):
        return False
    return _starts_lowercase(line.text) or len(last.text) >= SHORT * usual


def _begins_paragraph(last: Line, line: Line, distance: float, usual: int, broke: bool) -> bool:
    if _BROKEN.search(last.text) and _starts_lowercase(line.text):
        return False
    if _other_size(last, line) or _BULLET.match(line.text):
        return True
    step = line.top - last.top
    if (distance and (step > GAP * distance or step < -distance)) or broke:
        # A gap inside a sentence is the printer's (a figure, a new column) and not the writer's.
        return bool(_FINAL.search(last.text)) or not _starts_lowercase(line.text)
    if distance and INDENT * distance < line.left - last.left < 6 * distance and _FINAL.search(last.text):
        return True
    if _FINAL.search(last.text) and not _FINAL.search(line.text) and len(line.text) < HEADING * usual:
        return not _starts_lowercase(line.text)
    short = len(last.text) < SHORT * usual
    return (
        short
        and not _starts_lowercase(line.text)
        and (bool(_FINAL.search(last.text)) or len(last.text) < HEADING * usual)
    )


def _other_size(last: Line, line: Line) -> bool:
    return bool(last.size and line.size) and not 0.85 < last.size / line.size < 1.18


def _starts_lowercase(text: str) -> bool:
    """Whether the text seems to start in the middle of a sentence: with a small letter or a closing mark."""
    start = text.lstrip("\"'“‘«([")[:1]
    return start.islower() or start in ",;)"


class Words:
    """Word counts inside the lines of a document, as evidence for hyphens at line ends."""

    def __init__(self, paragraphs: Sequence[Sequence[PlacedLine]]) -> None:
        self.counts: Counter[str] = Counter()
        if not any(_BROKEN.search(line.text) for paragraph in paragraphs for line in paragraph[:-1]):
            return
        for paragraph in paragraphs:
            for line in paragraph:
                inner = _BROKEN.sub("", line.text)
                self.counts.update(word.casefold().replace("\u2010", "-") for word in _WORD.findall(inner))

    def joint(self, before: str, after: str) -> tuple[str, str]:
        """(``before`` as it should stand, what goes between it and ``after``) for two lines of a paragraph.

        A hyphen stays if the hyphenated word stands elsewhere in the document and the joined word does not, or if a
        capital follows, or in a number ("thirty-nine"); a soft hyphen always goes.
        """
        broken = _BROKEN.search(before)
        following = _FIRST_WORD.match(after)
        if broken and following:
            first, second = broken[1], following.group()
            joined, hyphenated = (first + second).casefold(), f"{first}-{second}".casefold()
            soft = before[-1] == "\u00ad"
            keep = second[0].isupper() and not first.isupper()
            keep = keep or (first.casefold() in TENS and second.casefold() in ONES)
            keep = keep or bool(self.counts[hyphenated] and not self.counts[joined])
            return (before, "") if keep and not soft else (before[:-1], "")
        if before[-1:] in _HYPHENS and len(before) > 1 and before[-2].isalnum() and after[:1].isalnum():
            return before, ""  # "1914-" and "18": the hyphen is part of the text
        if _unspaced(before[-1:]) and _unspaced(after[:1]):
            return before, ""
        return before, " "


def _unspaced(character: str) -> bool:
    """Whether the character belongs to a script that is written without spaces between words."""
    return "\u2e80" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or "\uff00" <= character <= "\uff60"
