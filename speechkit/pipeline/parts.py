"""A worker stage's input in parts, with borders that depend only on the input, found in one pass."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import ManifestError, UserError
from speechkit.io.atomic import atomic_path

ENTRY = struct.Struct("<qq")  # byte offset and line number (from 0) of a part's first record
HEAD = struct.Struct("<qq")  # number of parts, number of records
INDEX = "parts.index"


class PartIndex:
    """Offsets of the parts in the input file, read entry by entry, so that a million parts take no memory."""

    def __init__(self, path: Path, source: Path) -> None:
        self._path = path
        self.source = source
        with path.open("rb") as file:
            self.parts, self.records = HEAD.unpack(file.read(HEAD.size))

    def name(self, part: int) -> str:
        """``part-00017-of-00400``."""
        return f"part-{part:05d}-of-{self.parts:05d}"

    def lines(self, part: int) -> Iterator[tuple[int, bytes]]:
        """The part's lines with their numbers in the file, from 1; blank lines are left out."""
        with self._path.open("rb") as file:
            file.seek(HEAD.size + part * ENTRY.size)
            entries = file.read(2 * ENTRY.size)
        begin, line_number = ENTRY.unpack_from(entries)
        end, _ = ENTRY.unpack_from(entries, ENTRY.size)
        with self.source.open("rb") as file:
            file.seek(begin)
            while begin < end:
                line = file.readline()
                if not line:
                    raise UserError(f"{self.source}: was truncated while it was read; run again")
                begin += len(line)
                line_number += 1
                if line.strip():
                    yield line_number, line


def index_parts(source: Path, work: Path, part_records: int) -> PartIndex:
    """Find the borders of the parts and keep them in ``work``.

    Every part has ``part_records`` records, the last possibly fewer.

    Raises:
        UserError: if the input is missing, compressed or a folder.
    """
    if source.suffix == ".gz":
        raise UserError(f"{source}: compressed manifests cannot be split into parts; unpack it: gunzip -k {source}")
    path = work / INDEX
    try:
        file = source.open("rb")
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}") from error
    with file, atomic_path(path) as temporary, temporary.open("wb") as index:
        index.write(HEAD.pack(0, 0))
        offset = records = parts = line_number = 0
        for line in file:
            if line.strip():
                if records % part_records == 0:
                    index.write(ENTRY.pack(offset, line_number))
                    parts += 1
                records += 1
            offset += len(line)
            line_number += 1
        index.write(ENTRY.pack(offset, line_number))
        index.seek(0)
        index.write(HEAD.pack(parts, records))
    return PartIndex(path, source)


def decode_line(decoder: msgspec.json.Decoder[Any], source: Path, line_number: int, line: bytes) -> Any:
    """One record.

    Raises:
        ManifestError: if the line is not a valid record, with file and line.
    """
    try:
        return decoder.decode(line)
    except msgspec.DecodeError as error:
        torn = "" if line.endswith(b"\n") else "; the last line is truncated, so the file is incomplete"
        raise ManifestError(f"{source}:{line_number}: {error}{torn}") from error
