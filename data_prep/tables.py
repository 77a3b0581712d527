"""Text tables of corpora, read line by line: Kaldi maps, tab-separated tables, single transcripts.

A table comes from elsewhere: lines may be endless, not UTF-8, or have the wrong number of fields. A file that cannot be
read is an error that says which line; a line that does not have the published form is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from speechkit.errors import UserError

from .corpus import LeftOut

MAX_LINE_BYTES = 1 << 20
MAX_TRANSCRIPT_BYTES = 1 << 16


def whole_number(text: str) -> int | None:
    """The number of up to 15 ASCII digits, or None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def require_file(path: Path, advice: str) -> Path:
    """The path, if it is a file.

    Raises:
        UserError: otherwise, with ``advice`` on where the file comes from.
    """
    if not path.is_file():
        raise UserError(f"{path}: is missing; {advice}")
    return path


def require_folder(path: Path, advice: str) -> Path:
    """The path, if it is a folder.

    Raises:
        UserError: otherwise, with ``advice`` on where the folder comes from.
    """
    if not path.is_dir():
        raise UserError(f"{path}: is missing or not a folder; {advice}")
    return path


def subfolders(folder: Path) -> list[Path]:
    """Folders inside ``folder`` sorted by name, without hidden ones and links, which may lead out of it."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and not p.name.startswith("."))


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 file without line ends, empty lines left away; in bounded memory.

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
    """Line number, first word and the rest with single spaces, as in Kaldi's ``text``; the rest may be empty."""
    for number, line in read_lines(path):
        words = line.split()
        if words:
            yield number, words[0], " ".join(words[1:])


def read_map(path: Path) -> tuple[dict[str, str], list[LeftOut]]:
    """Key to the rest of its line, and the later lines of keys that stand twice with different content."""
    values: dict[str, str] = {}
    repeated: list[LeftOut] = []
    for number, key, rest in read_keyed(path):
        if values.setdefault(key, rest) != rest:
            repeated.append(LeftOut(key, "duplicate_id", f"{path}:{number}: a second line of this id, other content"))
    return values, repeated


def read_fields(path: Path, fields: int) -> Iterator[tuple[int, list[str]] | LeftOut]:
    """Rows of a tab-separated table without header that must have ``fields`` fields."""
    for number, line in read_lines(path):
        row = line.split("\t")
        if len(row) != fields or "\0" in line:
            yield LeftOut(row[0][:80], "bad_line", f"{path}:{number}: has {len(row)} fields and not {fields}")
        else:
            yield number, row


def read_table(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]] | LeftOut]:
    """Rows of a tab-separated table with a header line, as dicts.

    Raises:
        UserError: if the header lacks one of the ``required`` columns, naming all that it lacks.
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
    """The text of a file that holds one transcript, white space collapsed.

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
