"""PDF files and scanned pages: the text layer where there is one, optical character recognition where there is none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, Literal

from speechkit.errors import DocumentError, MissingExtraError, require
from speechkit.mining.documents.extracted import DocumentLimits, Extracted, Line, PrintedPage, printable
from speechkit.mining.documents.isolation import run_reader
from speechkit.mining.records import Removed

Ocr = Literal["auto", "always", "never"]
# Fewer characters than this are a stamp or a page number laid over a scan, not a text layer.
FEWEST_CHARACTERS = 16
_TESSERACT_LANGUAGES = {
    "en": "eng", "hi": "hin", "bn": "ben", "as": "asm", "pa": "pan", "gu": "guj", "or": "ori", "ta": "tam", "te": "tel",
    "kn": "kan", "ml": "mal", "mr": "mar", "ne": "nep", "sa": "san", "sd": "snd", "ur": "urd", "de": "deu", "fr": "fra",
    "es": "spa", "it": "ita", "pt": "por", "nl": "nld", "sv": "swe", "pl": "pol", "tr": "tur", "id": "ind", "ru": "rus",
    "uk": "ukr", "bg": "bul", "el": "ell", "ar": "ara", "fa": "fas", "he": "heb", "zh": "chi_sim", "ja": "jpn",
    "ko": "kor", "th": "tha", "vi": "vie",
}  # fmt: skip


def read_pdf(path: Path, lang: str | None, ocr: Ocr, limits: DocumentLimits) -> Extracted:
    """The lines of every page; pages without a text layer are recognised as ``ocr`` says.

    Raises:
        DocumentError: if the file is damaged, encrypted, has no page, is over a limit, or holds no text.
        MissingExtraError: if no page has text and recognition is not installed.
    """
    answer = run_reader(
        "pdf_child.py",
        {"path": str(path), "max_pages": limits.max_pages, "max_characters": limits.max_characters},
        path,
        seconds=limits.max_seconds,
        memory_bytes=limits.max_memory_bytes,
    )
    pages = [PrintedPage(number, _lines(page["lines"])) for number, page in enumerate(answer["pages"], 1)]
    extracted = Extracted("pdf", pages)
    for number, page in enumerate(answer["pages"], 1):
        extracted.removed += [Removed(number, mark, "note_mark") for mark in page["marks"]]
    problems = [f"page {n}: {page['problem']}" for n, page in enumerate(answer["pages"], 1) if page["problem"]]
    extracted.warnings += [f"could not read the text layer of {problem}" for problem in problems]
    bare = [
        page.number
        for page, content in zip(pages, answer["pages"], strict=True)
        if ocr == "always" or ((content["image"] or content["problem"]) and _characters(page) < FEWEST_CHARACTERS)
    ]
    has_text = any(_characters(page) for page in pages)
    if not bare:
        if not has_text and problems:
            raise DocumentError(f"{path}: no page could be read ({problems[0]}); save the file again")
        return extracted
    if ocr == "never":
        if not has_text:
            raise DocumentError(f'{path}: no page has a text layer and OCR is off; use ocr="auto"')
        extracted.warnings.append(f"no text layer on pages {_ranges(bare)} and OCR is off: left out")
        return extracted
    try:
        recognised = _recognise(path, bare, lang, limits)
    except (MissingExtraError, DocumentError) as error:
        if not has_text:
            raise
        extracted.warnings.append(f"no text layer on pages {_ranges(bare)}, left out: {error}")
        return extracted
    for page in recognised:
        pages[page.number - 1] = page
    if len(bare) * 2 >= len(pages):
        extracted.kind = "scan"
    return extracted


def read_image(path: Path, lang: str | None, ocr: Ocr, limits: DocumentLimits) -> Extracted:
    """The recognised lines of a picture, or of each picture of a multi-page TIFF.

    Raises:
        DocumentError: if it is not a picture, is too large, or recognition is off.
        MissingExtraError: if recognition is not installed.
    """
    if ocr == "never":
        raise DocumentError(f'{path}: is a picture and OCR is off; use ocr="auto"')
    return Extracted("image", _recognise(path, None, lang, limits))


def _recognise(path: Path, pages: list[int] | None, lang: str | None, limits: DocumentLimits) -> list[PrintedPage]:
    require("PIL")
    require("pytesseract")
    answer = run_reader(
        "ocr_child.py",
        {
            "path": str(path),
            "pages": pages,
            "max_pages": limits.max_pages,
            "language": tesseract_language(lang),
            "dots_per_inch": limits.ocr_dots_per_inch,
            "seconds_per_page": limits.ocr_seconds_per_page,
        },
        path,
        seconds=30 + limits.ocr_seconds_per_page * (len(pages) if pages is not None else 20),
        memory_bytes=limits.max_memory_bytes,
    )
    return [PrintedPage(page["number"], _lines(page["lines"])) for page in answer["pages"]]


def tesseract_language(lang: str | None) -> str:
    """Tesseract's name of a language code, after checking that the program and its data are installed.

    Raises:
        MissingExtraError: if the program or the language's data is missing, with the install line.
    """
    program = shutil.which("tesseract")
    if program is None:
        raise MissingExtraError("the program tesseract is not installed; run: apt-get install tesseract-ocr")
    primary = (lang or "en").replace("_", "-").split("-")[0].lower()
    name = _TESSERACT_LANGUAGES.get(primary, primary)
    listing = subprocess.run([program, "--list-langs"], capture_output=True, text=True, timeout=60, check=False)
    if name not in listing.stdout.split():
        package = f"tesseract-ocr-{name.replace('_', '-')}"
        raise MissingExtraError(f"tesseract has no data for {name!r}; run: apt-get install {package}")
    return name


def _lines(rows: list[Any]) -> list[Line]:
    return [Line(" ".join(printable(text).split()), top, size, left) for text, top, size, left in rows]


def _characters(page: PrintedPage) -> int:
    return sum(len(line.text) for line in page.lines)


def _ranges(numbers: list[int]) -> str:
    """Page numbers in short: 1-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
