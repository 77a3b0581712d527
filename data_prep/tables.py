"""Read text tables of corpora line by line: Kaldi maps, tab-separated tables, single transcripts.

Tables are untrusted: lines may be very long, not UTF-8, or have the wrong number of fields. A file that cannot be read
is an error with the line number; a line that is not in the published format is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from speechkit.errors import UserError

from .corpus import LeftOut

MAX_LINE_BYTES = 1 << 20
MAX_TRANSCRIPT_BYTES = 1 << 16


def whole_number(text: str) -> int | None:
    """Parse up to 15 ASCII digits as an integer; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def require_file(path: Path, advice: str) -> Path:
    """Check that the path is a file, and return it.

    Raises:
        UserError: otherwise, with ``advice`` on where the file comes from.
    """
    if not path.is_file():
        raise UserError(f"{path}: is missing; {advice}")
    return path


def require_folder(path: Path, advice: str) -> Path:
    """Check that the path is a folder, and return it.

    Raises:
        UserError: otherwise, with ``advice`` on where the folder comes from.
    """
    if not path.is_dir():
        raise UserError(f"{path}: is missing or not a folder; {advice}")
    return path


def subfolders(folder: Path) -> list[Path]:
    """Subfolders of ``folder``, sorted by name, without hidden ones and links, which may lead out of it."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and not p.name.startswith("."))


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 file, without line endings and empty lines; in bounded memory.

    Raises:
        UserError: if the file is missing, a line is not UTF-8, or a line is longer than 1 MiB.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise UserError(f"{path}:{number}: is longer than 1 MiB; this is not a table of transcripts")
                if number == 1 and line.startswith(b"\xef\xbb\xbf"):
                    line = line[3:]
                try:
                    text = line.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise UserError(
                        f"{path}:{number}: byte {error.start} is not UTF-8; convert the file, for example with iconv"
                    ) from error
                if text:
                    yield number, text
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_keyed(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, first word, and the rest with single spaces (may be empty), as in Kaldi's ``text``."""
    for number, line in read_lines(path):
        words = line.split()
        if words:
            yield number, words[0], " ".join(words[1:])


def read_map(path: Path) -> tuple[dict[str, str], list[LeftOut]]:
    """Map from key to the rest of its line, and later lines that repeat a key with different content."""
    values: dict[str, str] = {}
    repeated: list[LeftOut] = []
    for number, key, value in read_keyed(path):
        if values.setdefault(key, value) != value:
            repeated.append(LeftOut(key, "duplicate_id", f"{path}:{number}: a second line of this id, other content"))
    return values, repeated


def read_fields(path: Path, fields: int) -> Iterator[tuple[int, list[str]] | LeftOut]:
    """Rows of a tab-separated table without header; each must have ``fields`` fields."""
    for number, line in read_lines(path):
        row = line.split("\t")
        if len(row) != fields or "\0" in line:
            yield LeftOut(row[0][:80], "bad_line", f"{path}:{number}: has {len(row)} fields and not {fields}")
        else:
            yield number, row


def read_table(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]] | LeftOut]:
    """Rows of a tab-separated table with a header line, as dicts.

    Raises:
        UserError: if the header lacks ``required`` columns, naming all that are missing.
    """
    header: list[str] | None = None
    for number, line in read_lines(path):
        row = line.split("\t")
        if header is None:
            header = row
            lacking = [name for name in required if name not in header]
            if lacking:
                raise UserError(
                    f"{path}:{number}: the header lacks {', '.join(lacking)} (it has {', '.join(header)[:200]}); "
                    f"use the table as published"
                )
        elif len(row) != len(header) or "\0" in line:
            detail = f"{path}:{number}: has {len(row)} fields and the header {len(header)}"
            yield LeftOut(row[0][:80], "bad_line", detail)
        else:
            yield number, dict(zip(header, row, strict=True))


def read_transcript(path: Path) -> str:
    """Read a file with a single transcript, white space collapsed.

    Raises:
        UserError: if it is not UTF-8 or longer than any sentence.
    """
    with path.open("rb") as file:
        content = file.read(MAX_TRANSCRIPT_BYTES + 1)
    if len(content) > MAX_TRANSCRIPT_BYTES:
        raise UserError(f"{path}: is longer than {MAX_TRANSCRIPT_BYTES} bytes; a transcript of one clip is expected")
    try:
        return " ".join(content.decode("utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8; convert it, for example with iconv") from error
