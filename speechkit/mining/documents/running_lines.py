"""Headers, footers and page numbers: lines at the edge of a page that its neighbours repeat.

Digits are masked, so that "Chapter 3, page 17" repeats; lines are compared by similarity, so that a header which OCR
misread on some pages is detected on all of them.
"""

from __future__ import annotations

import difflib
import re
from typing import Literal

from speechkit.mining.documents.extracted import PrintedPage
from speechkit.mining.records import Removed

EDGE_LINES = 3
SIMILARITY = 0.75  # two copies that OCR garbled independently at about 10 % of the characters still reach it
FEWEST_PAGES = 3
REACH = 2  # pages: left and right headers alternate

_PAGE_NUMBER = re.compile(
    r"^[\W_]*(?:(?:page|pg|p|seite|página|pagina|पृष्ठ)\b\.?\s*)?(\d{1,4}|[ivxlc]{1,7})(?:\s*(?:/|of|von|de)\s*\d{1,4})?[\W_]*$",
    re.I,
)
_LETTERS_OR_DIGITS = re.compile(r"[\W_]+")
_FINAL = ".!?।॥۔。"
_LinePosition = tuple[int, int]  # index of the page, index of the line in it


def remove_running_lines(pages: list[PrintedPage]) -> tuple[list[PrintedPage], list[Removed]]:
    """The pages without their running lines, and what was taken out.

    A line goes if it stands among the first or last `EDGE_LINES` of its page and resembles such lines of neighbouring
    pages on at least `FEWEST_PAGES` pages (both of two), or if it is a bare number that counts up with the pages.
    """
    if len(pages) < 2:
        return pages, []
    edges = {side: [_edge(page, side) for page in pages] for side in ("header", "footer")}
    reasons: dict[_LinePosition, Literal["header", "footer", "page_number"]] = {}
    for side, lines in edges.items():
        for position in _repeated(pages, lines):
            reasons[position] = "header" if side == "header" else "footer"
    for position in _counting(pages, edges):
        reasons[position] = "page_number"
    if all(
        (number, i) in reasons for number, page in enumerate(pages) for i, line in enumerate(page.lines) if line.text
    ):
        return pages, []  # the same page again and again: the text itself
    kept, removed = [], []
    for number, page in enumerate(pages):
        kept.append(PrintedPage(page.number, [line for i, line in enumerate(page.lines) if (number, i) not in reasons]))
        removed += [
            Removed(page.number, line.text, reasons[number, i])
            for i, line in enumerate(page.lines)
            if (number, i) in reasons
        ]
    return kept, removed


def _edge(page: PrintedPage, side: str) -> list[int]:
    """Indices of the lines at the top or the bottom, outermost first; by position where the page knows it."""
    indices = [index for index, line in enumerate(page.lines) if line.text]
    if any(page.lines[index].top for index in indices):
        indices.sort(key=lambda index: page.lines[index].top)
    if side == "footer":
        indices.reverse()
    # On a page of few lines a line is at one edge only.
    return indices[: min(EDGE_LINES, (len(indices) + 1) // 2)]


def _key(text: str) -> str:
    masked = _LETTERS_OR_DIGITS.sub(" ", re.sub(r"\d+", "0", text).casefold()).strip()
    return masked + (text[-1] if text[-1] in _FINAL else "")


def _may_run(key: str) -> bool:
    """Whether a line is long enough to compare: a word or a date. Bare numbers are detected by their sequence."""
    letters = sum(map(str.isalpha, key))
    return letters >= 3 or (letters >= 1 and len(key) >= 6) or key.count("0") >= 3


def _alike(first: str, second: str) -> bool:
    if first.rstrip(_FINAL) == second.rstrip(_FINAL):
        return True
    if first[-1] in _FINAL or second[-1] in _FINAL:  # similar sentences belong to the text
        return False
    if min(len(first), len(second)) < 6 or abs(len(first) - len(second)) > 0.3 * max(len(first), len(second)):
        return False
    matcher = difflib.SequenceMatcher(None, first[:200], second[:200], autojunk=False)
    return matcher.quick_ratio() >= SIMILARITY and matcher.ratio() >= SIMILARITY


def _repeated(pages: list[PrintedPage], edges: list[list[int]]) -> list[_LinePosition]:
    """Positions of the lines that neighbouring pages repeat at the same edge."""
    keys = {
        (number, index): key
        for number, lines in enumerate(edges)
        for index in lines
        if _may_run(key := _key(pages[number].lines[index].text))
    }
    leader = {position: position for position in keys}

    def find(position: _LinePosition) -> _LinePosition:
        while leader[position] != position:
            leader[position] = leader[leader[position]]
            position = leader[position]
        return position

    for number, lines in enumerate(edges):
        for other in range(number + 1, min(number + 1 + REACH, len(pages))):
            for index in lines:
                for candidate in edges[other]:
                    first, second = (number, index), (other, candidate)
                    if first in keys and second in keys and _alike(keys[first], keys[second]):
                        leader[find(second)] = find(first)
    groups: dict[_LinePosition, list[_LinePosition]] = {}
    for position in keys:
        groups.setdefault(find(position), []).append(position)
    enough = min(FEWEST_PAGES, len(pages))
    return [position for group in groups.values() if len({page for page, _ in group}) >= enough for position in group]


def _counting(pages: list[PrintedPage], edges: dict[str, list[list[int]]]) -> list[_LinePosition]:
    """Positions of bare numbers at an edge whose distance to the page's index is shared with another page's number."""
    by_distance: dict[int, list[_LinePosition]] = {}
    roman: list[_LinePosition] = []
    for sides in edges.values():
        for number, lines in enumerate(sides):
            for index in lines:
                match = _PAGE_NUMBER.match(pages[number].lines[index].text)
                if match and match[1].isdigit():
                    by_distance.setdefault(int(match[1]) - number, []).append((number, index))
                elif (match and len(match[1]) > 1) or (match and match[1].lower() in "ivx"):
                    roman.append((number, index))
    counted = [
        position
        for positions in by_distance.values()
        if len({page for page, _ in positions}) >= 2
        for position in positions
    ]
    return counted + (roman if len({page for page, _ in roman}) >= 2 else [])
