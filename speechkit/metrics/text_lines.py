"""Lines of a text file with their numbers: UTF-8, plain or gzip, each of bounded length."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from speechkit.errors import UserError

MAX_LINE_BYTES = 1 << 24
BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(1-based number, line without line end) of every non-blank line; a byte order mark is removed.

    Raises:
        UserError: if the file cannot be read, is not UTF-8, or has a line of more than 16 MiB, with ``file:line``.
    """
    number = 0
    try:
        with path.open("rb") as raw:
            packed = raw.read(2)
            raw.seek(0)
            if packed in BYTE_ORDER_MARKS:
                raise UserError(f"{path}:1: is {BYTE_ORDER_MARKS[packed]}, not UTF-8; convert the file")
            file = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if packed == b"\x1f\x8b" else raw
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise UserError(f"{path}:{number}: is longer than 16 MiB; this is not a transcript file")
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise UserError(f"{path}:{number}: byte {error.start} is not UTF-8; convert the file") from error
                if text.strip():
                    yield number, text.rstrip("\r\n")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}:{number + 1}: the compressed file is damaged ({error}); write it again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}; check the path") from error
