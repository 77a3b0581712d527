"""Plain text and subtitles: encodings, hard-wrapped lines, cues."""

from __future__ import annotations

import codecs
import html
import re
from itertools import pairwise
from pathlib import Path

from speechkit.errors import DocumentError
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
    r"^\s*(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})\s*-->\s*(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
)
_LONG_REFERENCE = re.compile(r"&#(?:\d{8,}|[xX][0-9a-fA-F]{7,});?")
# Labels that mean a larger character set to browsers than to Python.
_WIDER = {"shift_jis": "cp932", "gbk": "gb18030", "euc-kr": "cp949", "big5": "big5hkscs"}
SNIFFED_BYTES = 1 << 14
_OTHER_FORMATS = {
    b"%PDF-": "a PDF file", b"PK\x03\x04": "a ZIP, DOCX or EPUB file", b"\xd0\xcf\x11\xe0": "an old Office file",
    b"{\\rtf": "an RTF file", b"\x1f\x8b": "a gzip file", b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture",
}  # fmt: skip
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x0e\x0f\x1b\x1c\x1d\x1e\0"))  # no encoding of text has them
_TAG = re.compile(r"<[^<>]{0,200}>|\{\\[^{}]{0,200}\}")


def decode(data: bytes, declared: str | None = None) -> tuple[str, list[str]]:
    """Decode bytes as browsers do; returns the text and what is uncertain about it.

    A byte order mark decides, then the look of UTF-16, then a declared label, then UTF-8, of which single bytes may be
    damaged; anything else is read as Windows-1252, with a warning. A declaration that could be read byte by byte cannot
    be UTF-16.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            text = data.decode(encoding, "replace")
            return text, ["some bytes are not valid " + encoding] if "\ufffd" in text else []
    if wide := _utf_16(data):
        return wide, ["has no byte order mark and looks like UTF-16; read as such"]
    codec = declared and browser_codec(declared)
    if codec:
        try:
            return data.decode(codec), []
        except UnicodeDecodeError:
            pass
    try:
        text = data.decode("utf-8")
        return text, [f"declared as {declared} but read as utf-8"] if declared and codec != "utf-8" else []
    except UnicodeDecodeError:
        if codec and codec != "utf-8":
            return data.decode(codec, "replace"), [f"some bytes are not valid {declared}"]
        text = data.decode("utf-8", "replace")
        damaged, others = text.count("\ufffd"), len(text) - len(text.encode("ascii", "ignore"))
        if 2 * damaged <= others:  # letters of Windows-1252 hardly ever look like UTF-8
            return text, [f"{damaged} bytes are not valid UTF-8, in which the rest is read"]
        text = data.decode("cp1252", "replace")
        return text, ["the encoding is not UTF-8; read as Windows-1252 (cp1252), so some letters may be wrong"]


def read_encoded(path: Path) -> bytes:
    """The bytes of a file that should hold text.

    Raises:
        DocumentError: if its first bytes are those of another format, or it is full of control characters.
    """
    data = path.read_bytes()
    kind = next((kind for start, kind in _OTHER_FORMATS.items() if data.startswith(start)), None)
    if kind is not None:
        raise DocumentError(f"{path}: is {kind} by its first bytes, and no text; give it the suffix of its format")
    head = data[:SNIFFED_BYTES]
    wide = any(map(data.startswith, (mark for mark, _ in _BYTE_ORDER_MARKS))) or _utf_16(data) is not None
    if (len(head) - len(head.translate(None, _CONTROLS))) * 20 > len(head) and not wide:
        raise DocumentError(f"{path}: is full of control characters, and no text; check what the file is")
    return data


def browser_codec(label: str) -> str | None:
    """Python's codec for a charset label as browsers interpret it; None for an unknown label.

    Source: the WHATWG Encoding Standard, by `webencodings`; four of its encodings are wider than Python's of that name.
    """
    import webencodings

    encoding = webencodings.lookup(label)
    if encoding is None:
        return None
    if encoding.name.startswith("utf-16"):
        return "utf-8"
    if encoding.name == "x-user-defined":
        return "cp1252"
    if encoding.name == "replacement":  # browsers refuse these for their safety; here nothing of a page is run
        try:
            return codecs.lookup(label.strip()).name
        except LookupError:
            return None
    return _WIDER.get(encoding.name, str(encoding.codec_info.name))


def _utf_16(data: bytes) -> str | None:
    """The text of UTF-16 without a byte order mark, detected by zero bytes at every other position; None otherwise."""
    head = data[:SNIFFED_BYTES]
    head = head[: len(head) // 2 * 2]
    zeros = head[0::2].count(0), head[1::2].count(0)
    if len(data) % 2 or max(zeros) * 50 < len(head) or min(zeros) * 20 > max(zeros):
        return None
    encoding = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    high = head[0::2] if zeros[0] > zeros[1] else head[1::2]
    if len(set(high)) > max(3, len(high) // 4):  # text keeps to few blocks of characters; bytes in pairs do not
        return None
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def read_text(path: Path) -> Extracted:
    """A plain text file: printed pages if it holds form feeds, else paragraphs."""
    text, warnings = decode(read_encoded(path))
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
    """Whether the lines are wrapped at a margin, so that a line end is only a space.

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
    """The words of SRT or WebVTT cues; a pause of `CUE_PAUSE_SECONDS` begins a paragraph.

    A WebVTT cue ends at an empty line, not at one of spaces; what stands outside cues are names, notes and styles. An
    SRT cue ends where the next one begins, with empty lines inside it or not.
    """
    text, warnings = decode(read_encoded(path))
    lines = printable(text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")
    blocks = path.suffix.lower() == ".vtt" or lines[0].startswith("WEBVTT")
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
        elif blocks and not line:
            inside = False
        elif inside and "-->" not in line and not _is_counter(lines, index):
            words = " ".join(unescape(_TAG.sub("", line)).split())
            if words and words != shown:  # rolling captions show each line twice
                paragraph.append(words)
                shown = words
    if paragraph:
        extracted.paragraphs.append(Paragraph(" ".join(paragraph)))
    return extracted


def unescape(text: str) -> str:
    """The text with character references resolved; one with more digits than a character has is the replacement."""
    return html.unescape(_LONG_REFERENCE.sub("\ufffd", text))


def _is_counter(lines: list[str], index: int) -> bool:
    """A number directly above a cue's time, where the blank line between cues is missing."""
    return lines[index].strip().isdigit() and index + 1 < len(lines) and bool(_CUE_TIME.match(lines[index + 1]))


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")
