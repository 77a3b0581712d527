"""Script, run by `isolation`: the text layer of a PDF, line by line with positions, as JSON.

It imports nothing of speechkit, so that it starts quickly and stays small.
"""

from __future__ import annotations

import ctypes
import json
import logging
import math
import re
import statistics
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

RAISED_SIZE = 0.8  # of the line's size: a smaller character may be a note mark
RAISED_HEIGHT = 0.15  # of the line's size: how far above its foot a mark stands
NOTE_MARK = re.compile(r"[\d,;*\u2020\u2021\u00a7\[\]()\u2013-]{1,8}")
BREAKS = (0x02, 0x2D, 0xAD, 0x2010, 0xFFFE)  # what PDFium may give for the hyphen at a line's end
NOTED = ".,;:!?)]\"'\u2019\u201d\u00bb\u0964"


def limit(memory_bytes: int, seconds: float) -> None:
    """Bound this process's address space and processor time, where the system can."""
    try:
        import resource
    except ImportError:  # not on Windows: the parent's clock remains
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    whole = math.ceil(seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 5))


class Character(NamedTuple):
    """A drawn character: its height above the page's lower edge, effective size and left edge, in points."""

    text: str
    height: float
    size: float
    left: float


def characters(text_page: Any, room: int) -> Iterator[Character]:
    """The characters of a page in the order of PDFium; spaces and line ends have no position.

    PDFium joins text that is drawn letter by letter and leaves out what is drawn twice.

    Raises:
        OverflowError: past ``room`` characters.
    """
    import pypdfium2.raw as pdfium

    count = text_page.count_chars()
    if count > room:
        raise OverflowError
    x, y, matrix = ctypes.c_double(), ctypes.c_double(), pdfium.FS_MATRIX()
    high, last_object, size = 0, None, 0.0
    unicode, text_object = pdfium.FPDFText_GetUnicode, pdfium.FPDFText_GetTextObject
    for index in range(count):
        code = unicode(text_page, index)
        if 0xD800 <= code < 0xDC00:
            high = code
            continue
        if high and 0xDC00 <= code < 0xE000:
            code = 0x10000 + ((high - 0xD800) << 10) + code - 0xDC00
        high = 0
        text = chr(code)
        if text.isspace() or not code:
            yield Character(text, 0.0, 0.0, 0.0)
            continue
        # Characters of one object share their size and height; most pages draw a line at once.
        drawn = ctypes.cast(text_object(text_page, index), ctypes.c_void_p).value
        if drawn is None or drawn != last_object:
            last_object = drawn
            size = pdfium.FPDFText_GetFontSize(text_page, index)
            if pdfium.FPDFText_GetMatrix(text_page, index, matrix):
                size *= math.hypot(matrix.c, matrix.d)
            pdfium.FPDFText_GetCharOrigin(text_page, index, x, y)
        broken = code in BREAKS and pdfium.FPDFText_IsHyphen(text_page, index) == 1
        yield Character("-" if broken else text, y.value, size, x.value)
        if broken:  # PDFium reads on as if the word stood in one line
            yield Character("\n", 0.0, 0.0, 0.0)


def page_lines(page_characters: Iterable[Character]) -> tuple[list[tuple[str, float, float, float]], list[str]]:
    """(text, distance from an upper origin, font size, left edge) of every line, and the note marks taken out."""
    lines: list[tuple[str, float, float, float]] = []
    marks: list[str] = []
    pending: list[Character] = []

    def flush() -> None:
        drawn = [character for character in pending if character.size]
        if drawn:
            # The size of most of it: a line may begin with a large initial or a raised number.
            size = statistics.median_high(character.size for character in drawn)
            first = next(character for character in drawn if character.size >= 0.9 * size)
            lines.append((without_marks(pending, size, first.height, marks), -first.height, size, first.left))
        else:
            lines.append(("", 0.0, 0.0, 0.0))
        pending.clear()

    for character in page_characters:
        if character.text in "\r\n":
            if character.text == "\n":
                flush()
        else:
            pending.append(character)
    flush()
    return lines, marks


def without_marks(line: list[Character], size: float, base: float, marks: list[str]) -> str:
    """A line's text without the small raised numbers that refer to notes; they are added to ``marks``."""
    kept: list[str] = []
    begin = 0
    while begin < len(line):
        end = begin
        while end < len(line) and line[end].size and line[end].size < RAISED_SIZE * size:
            if line[end].height < base + RAISED_HEIGHT * size:
                break
            end += 1
        raised = "".join(character.text for character in line[begin:end])
        before = "".join(kept[-3:])
        # An exponent follows a number or a short unit, a note mark a word or the end of a sentence.
        if end > begin and NOTE_MARK.fullmatch(raised) and (before.isalpha() or before[-1:] in NOTED) and before:
            marks.append(raised)
        else:
            end = max(end, begin + 1)
            kept += (character.text for character in line[begin:end])
        begin = end
    return "".join(kept)


def has_image(page: Any) -> bool:
    """Whether the page draws a picture, so that it may be a scan."""
    import pypdfium2.raw as pdfium

    kinds = (pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_FORM)
    return next(page.get_objects(filter=kinds, max_depth=1), None) is not None


def read(request: dict[str, Any]) -> dict[str, Any]:
    """The pages, or ``error``: the end of a message that begins with the path."""
    import pypdfium2
    import pypdfium2.raw as pdfium

    try:
        document = pypdfium2.PdfDocument(request["path"])
        count = len(document)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == pdfium.FPDF_ERR_PASSWORD:
            return {"error": "is encrypted; save a copy without a password"}
        if getattr(error, "err_code", None) == pdfium.FPDF_ERR_SUCCESS:
            return {"error": "has no pages; save it again"}
        return {"error": f"is not a readable PDF ({summary(error)}); save it again or convert it to text"}
    if count <= 0:
        return {"error": "has no pages; save it again"}
    if count > request["max_pages"]:
        return {"error": f"has {count} pages, more than {request['max_pages']}; split it or raise max_pages"}
    pages: list[dict[str, Any]] = []
    room = request["max_characters"]
    for index in range(count):
        content: dict[str, Any] = {"lines": [], "marks": [], "image": False, "problem": ""}
        try:
            page = document[index]
            content["image"] = has_image(page)
            text_page = page.get_textpage()
            content["lines"], content["marks"] = page_lines(characters(text_page, room))
            room -= text_page.count_chars()
            text_page.close()
            page.close()
        except OverflowError:
            return {"error": f"holds more than {request['max_characters']} characters; split it or raise the limit"}
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception as error:  # a damaged page must not lose the others
            content["problem"] = summary(error)
        pages.append(content)
    return {"pages": pages}


def summary(error: BaseException) -> str:
    """One short line about an exception."""
    words = " ".join(str(error).split())[:150]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def main() -> None:
    """Read the request from the first argument's file and write the answer to the second's."""
    logging.disable(logging.CRITICAL)
    request = json.loads(Path(sys.argv[-2]).read_text("utf-8"))
    limit(request["memory_bytes"], request["seconds"])
    try:
        answer = read(request)
    except MemoryError:
        answer = {"error": f"needs more than {request['memory_bytes'] // 10**6} MB to read; split it"}
    Path(sys.argv[-1]).write_text(json.dumps(answer), "utf-8")


if __name__ == "__main__":
    main()
