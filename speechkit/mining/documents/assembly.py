"""Assemble a `Document` from extracted text: clean text, pages, and sentences with their offsets."""

from __future__ import annotations

from collections.abc import Sequence

from speechkit.errors import DocumentError
from speechkit.mining.documents.extracted import DocumentLimits, Extracted, visible
from speechkit.mining.documents.paragraphs import PlacedLine, Words, group_lines
from speechkit.mining.documents.running_lines import remove_running_lines
from speechkit.mining.records import Document, Page, Sentence
from speechkit.text import guess_language, split_sentences

SEPARATOR = "\n\n"
_REMEDY = {
    "scan": "check the quality of the scan and the OCR language",
    "image": "check the quality of the picture and the OCR language",
    "subtitles": "check that its cues have times such as 00:00:01,000 --> 00:00:02,000",
}


def assemble(
    extracted: Extracted, *, document_id: str, path: str, lang: str | None, limits: DocumentLimits
) -> Document:
    """Clean text with pages and sentences: ``document.text[s.begin:s.end] == s.text`` for every sentence.

    Raises:
        DocumentError: if no text is left, or there is more than the limits allow.
    """
    pages, removed = remove_running_lines(extracted.pages)
    removed = extracted.removed + removed
    paragraphs = group_lines(pages) if pages else [[PlacedLine(p.text, p.page)] for p in extracted.paragraphs if p.text]
    text, starts = _join(paragraphs)
    if not text.strip():
        raise DocumentError(f"{path}: holds no text; {_REMEDY.get(extracted.kind, 'check that it opens in a viewer')}")
    if len(text) > limits.max_characters:
        raise DocumentError(
            f"{path}: holds {len(text)} characters, more than {limits.max_characters}; split it or raise max_characters"
        )
    beside = sum(len(item.text) for item in removed)
    if beside > limits.max_characters:
        raise DocumentError(
            f"{path}: holds {beside} characters of navigation and running lines, more than {limits.max_characters}; "
            "split it or raise max_characters"
        )
    numbers = sorted({page.number for page in pages} | {number for number, _ in starts})
    bounds = _page_bounds(numbers, starts, len(text))
    warnings = list(extracted.warnings)
    guess = guess_language(text)
    asked = (lang or "").replace("_", "-").split("-")[0].lower()
    if asked and guess.lang not in ("und", asked):
        warnings.append(f"the text looks like {guess.lang!r} ({guess.script.capitalize()} script) and not {asked!r}")
    return Document(
        id=document_id,
        path=path,
        kind=extracted.kind,
        lang=lang or guess.lang,
        text=text,
        pages=bounds,
        sentences=_sentences(document_id, text, lang or guess.lang, bounds, limits.max_sentence_characters),
        removed=removed,
        warnings=warnings,
    )


def _join(paragraphs: Sequence[Sequence[PlacedLine]]) -> tuple[str, list[tuple[int, int]]]:
    """The joined text, and (page, offset) of the start of each page."""
    words = Words(paragraphs)
    pieces: list[str] = []
    starts: list[tuple[int, int]] = []
    length, page = 0, 0
    for number, paragraph in enumerate(paragraphs):
        if number:
            pieces.append(SEPARATOR)
            length += len(SEPARATOR)
        for index, line in enumerate(paragraph):
            if line.page > page:
                page = line.page
                starts.append((page, length))
            text, joint = line.text, ""
            if index + 1 < len(paragraph):
                text, joint = words.joint(text, paragraph[index + 1].text)
            text = visible(text)
            pieces += (text, joint)
            length += len(text) + len(joint)
    return "".join(pieces), starts


def _page_bounds(numbers: Sequence[int], starts: Sequence[tuple[int, int]], length: int) -> list[Page]:
    """Pages that tile the text; a page without text is empty, at the offset where the next one begins."""
    begins = dict(starts)
    pages: list[Page] = []
    end = length
    for number in reversed(numbers):
        begin = begins.get(number, end)
        pages.append(Page(number, begin, end))
        end = begin
    pages.reverse()
    return pages


def _sentences(document_id: str, text: str, lang: str, pages: Sequence[Page], longest: int) -> list[Sentence]:
    sentences: list[Sentence] = []
    page_index = 0
    for index, (begin, end) in enumerate(split_sentences(text, lang, max_characters=longest)):
        while page_index + 1 < len(pages) and begin >= pages[page_index].end:
            page_index += 1
        page = pages[page_index].number if pages else 1
        sentences.append(Sentence(f"{document_id}-{index:05d}", index, text[begin:end], begin, end, page))
    return sentences
