"""Shared readers of the six SLUE corpora: table rows from released folders and tars or from Hugging Face Parquet.

A released corpus is ``<name>_<split>.tsv`` (``_blind`` if the labels are withheld) with audio in folders beside it, or
tars of these. From Hugging Face it is ``<config>/<split>-00000-of-00002.parquet`` (or the same files without a folder)
with embedded audio, which is written once, below the output folder.
"""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import UserError, require
from speechkit.io.atomic import write_bytes
from speechkit.io.paths import safe_id

from .archives import unpacked
from .corpus import Corpus, Item, LeftOut, Request
from .folders import files_below, is_audio
from .tables import read_lines

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
ABSENT = ("", "None", "nan", "NaN")
MAX_CELL = 1 << 20
PARQUET = re.compile(r"(?P<split>[A-Za-z][A-Za-z0-9_]*?)(-\d+-of-\d+)?\.parquet")
ROWS_AT_ONCE = 16
HOMEPAGE = "https://github.com/asappresearch/slue-toolkit"


@dataclass(frozen=True)
class Row:
    """A table row: its location and fields. Audio columns of Parquet have been replaced by file paths."""

    location: str
    fields: dict[str, Any]

    def text(self, *names: str) -> str | None:
        """First non-empty field of ``names``, white space collapsed; None if there is none."""
        for name in names:
            value = self.fields.get(name)
            if value is not None and str(value).strip() not in ABSENT:
                return " ".join(str(value).split())
        return None

    def number(self, name: str) -> float | None:
        """The field as a number, None if it is not one."""
        try:
            value = float(self.fields.get(name, ""))
        except (TypeError, ValueError):
            return None
        return value if abs(value) < 1e12 else None

    def data(self, name: str) -> Any:
        """Parse the field: a Python or JSON list in a cell, or a columnar list, converted to rows.

        Raises:
            ValueError: if a cell cannot be parsed.
        """
        value = self.fields.get(name)
        if isinstance(value, str):
            if value.strip() in ABSENT:
                return None
            if len(value) > MAX_CELL:
                raise ValueError(f"{name} is longer than 1 MiB")
            try:
                return ast.literal_eval(value.strip())
            except (SyntaxError, RecursionError, MemoryError, TypeError) as error:
                raise ValueError(f"{name} is no list: {value[:60]!r}") from error
        if isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values()):
            return [dict(zip(value, each, strict=True)) for each in zip(*value.values(), strict=True)]
        return value


@dataclass(frozen=True)
class Split:
    """Table or Parquet files of a split, and its audio folder."""

    name: str
    tables: tuple[Path, ...]
    home: Path

    @property
    def is_parquet(self) -> bool:
        """Whether the split is in Hugging Face Parquet files."""
        return self.tables[0].suffix == ".parquet"


def find_splits(request: Request, names: Sequence[str], configs: Sequence[str]) -> dict[str, Split]:
    """Splits of a corpus whose table names start with one of ``names``, or of a Parquet folder in ``configs``.

    If the folder has no table, its archives are unpacked first.

    Raises:
        UserError: if there are no splits.
    """
    splits = _tables(request.source, names) or _parquet(request.source, configs)
    if not splits:
        for archive in sorted(p for p in request.source.iterdir() if p.is_file() and p.name.endswith(ARCHIVES)):
            home = unpacked(archive, request.unpacked / safe_id(archive.name.split(".")[0]))
            splits |= _tables(home, names)
    if not splits:
        raise UserError(
            f"{request.source}: holds no {names[0]}_<split>.tsv, no tar of it and no {configs[0]}/<split>-*.parquet; "
            "give the folder of the corpus as downloaded"
        )
    return splits


def _tables(source: Path, names: Sequence[str]) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    for path in files_below(source):
        for name in names:
            if path.suffix == ".tsv" and path.name.startswith(f"{name}_"):
                split = path.stem.removeprefix(f"{name}_").removesuffix("_blind")
                # If the labels were published later, the table with labels is used.
                if split not in splits or splits[split].tables[0].stem.endswith("_blind"):
                    splits[split] = Split(split, (path,), path.parent)
    return splits


def _parquet(source: Path, configs: Sequence[str]) -> dict[str, Split]:
    folders = [source / config for config in configs] + [source / "data", source]
    for folder in folders:
        files: dict[str, list[Path]] = {}
        for path in sorted(folder.glob("*.parquet")) if folder.is_dir() else ():
            match = PARQUET.fullmatch(path.name)
            if match:
                files.setdefault(match["split"], []).append(path)
        if files:
            return {name: Split(name, tuple(paths), folder) for name, paths in files.items()}
    return {}


def read_rows(request: Request, split: Split, required: Sequence[str], key: str) -> Iterator[Row | LeftOut]:
    """Rows of a split, in table order.

    Args:
        request: has the folder to which embedded audio is written.
        split: one of `find_splits`.
        required: columns that the table must have.
        key: column with the names of audio files.

    Raises:
        UserError: if a required column is absent.
    """
    if split.is_parquet:
        for path in split.tables:
            yield from _parquet_rows(path, request.unpacked / split.name, required, key)
        return
    path = split.tables[0]
    head: list[str] | None = None
    for number, line in read_lines(path):
        cells = next(csv.reader([line], delimiter="\t"), []) if '"' in line else line.split("\t")
        if head is None:
            head = cells
            _check_columns(path, head, required)
        elif len(cells) != len(head):
            yield LeftOut(
                cells[0][:80] if cells else "", "bad_line", f"{path}:{number}: has {len(cells)} cells, not {len(head)}"
            )
        else:
            yield Row(f"{path}:{number}", dict(zip(head, cells, strict=True)))


def _check_columns(path: Path, head: Sequence[str], required: Sequence[str]) -> None:
    lacking = [name for name in required if name not in head]
    if lacking:
        raise UserError(
            f"{path}: lacks the columns {', '.join(lacking)} (it has {', '.join(head)[:200]}); use it as published"
        )


def _parquet_rows(path: Path, folder: Path, required: Sequence[str], key: str) -> Iterator[Row]:
    arrow, parquet = require("pyarrow"), require("pyarrow.parquet")
    try:
        file = parquet.ParquetFile(str(path))
    except (arrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: is not a readable Parquet file ({error}); download it again") from error
    with file:
        _check_columns(path, file.schema_arrow.names, required)
        number = 0
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
            for fields in batch.to_pylist():
                number += 1
                location = f"{path}: row {number}"
                for name, value in fields.items():
                    if isinstance(value, dict) and set(value) == {"bytes", "path"}:
                        named = fields.get(key) or fields.get(name.replace("_audio", "_id")) or number
                        if name.endswith("_audio"):
                            named = fields.get(name.replace("_audio", "_id")) or named
                        fields[name] = _written(value, folder / name, f"{named}", location)
                yield Row(location, fields)


def _written(audio: dict[str, Any], folder: Path, name: str, location: str) -> Path:
    content = audio.get("bytes")
    if not content:
        raise UserError(f"{location}: holds no audio; download the data set with its audio inside")
    suffix = Path(str(audio.get("path") or "")).suffix.lower() or ".wav"
    path = folder / f"{safe_id(name)}{suffix}"
    if not path.is_file() or path.stat().st_size != len(content):
        write_bytes(path, content)
    return path


class AudioFiles:
    """Audio files below a folder, by stem; ``prefer`` are folder names in order of preference."""

    def __init__(self, home: Path, prefer: Sequence[str] = ()) -> None:
        self.home = home
        ranked: dict[str, tuple[int, Path]] = {}
        for path in files_below(home):
            if not is_audio(path):
                continue
            parts = path.relative_to(home).parts[:-1]
            rank = min((prefer.index(part) for part in parts if part in prefer), default=len(prefer))
            if path.stem not in ranked or rank < ranked[path.stem][0]:
                ranked[path.stem] = (rank, path)
        self.paths = {stem: path for stem, (_, path) in ranked.items()}

    def get(self, stem: str) -> Path:
        """Path of the file; if there is none, a nonexistent path, which the driver counts as missing."""
        return self.paths.get(stem, self.home / f"{safe_id(stem)}.absent")


@dataclass(frozen=True)
class Reading:
    """A split being read; ``files`` is None if the audio was embedded in the table."""

    request: Request
    split: Split
    files: AudioFiles | None

    def audio(self, row: Row, identifier: str) -> Path:
        """Audio file of a row."""
        path: Path = row.fields["audio"] if self.files is None else self.files.get(identifier)
        return path


def slue_corpus(
    clip: Callable[[Reading, Row], Item],
    *,
    name: str,
    title: str,
    licence: str,
    year: int,
    tables: Sequence[str],
    configs: Sequence[str],
    columns: Sequence[str],
    folders: Sequence[str] = ("{split}",),
) -> Corpus:
    """Define a corpus in which each table row is a clip.

    Args:
        clip: converts a row to a clip, or to the reason why it is left out.
        name: corpus name.
        title: display name.
        licence: licence of the corpus.
        year: year of the citation, Shon et al.
        tables: prefixes of its table names.
        configs: Hugging Face config names.
        columns: required columns; the first names the audio.
        folders: audio folders, in order of preference.
    """

    def splits(request: Request) -> list[str]:
        return list(find_splits(request, tables, configs))

    def read(request: Request, split: str) -> Iterator[Item]:
        chosen_split = find_splits(request, tables, configs)[split]
        prefer = tuple(folder.format(split=split) for folder in folders)
        reading = Reading(
            request, chosen_split, None if chosen_split.is_parquet else AudioFiles(chosen_split.home, prefer)
        )
        for row in read_rows(request, chosen_split, columns, columns[0]):
            yield row if isinstance(row, LeftOut) else clip(reading, row)

    return Corpus(name, title, licence, HOMEPAGE, f"Shon et al. {year}", splits, read)


def spans(row: Row, name: str, fields: Sequence[str]) -> list[tuple[Any, ...]] | None:
    """Entities as tuples, from lists or from records with ``fields``; None if the field is empty.

    Raises:
        ValueError: if the field is not such a list.
    """
    given = row.data(name)
    if given is None:
        return None
    if not isinstance(given, list | tuple):
        raise ValueError(f"{name} is no list: {str(given)[:60]!r}")
    tuples = []
    for entity in given:
        parts = tuple(entity[field] for field in fields) if isinstance(entity, dict) else tuple(entity)
        if len(parts) != len(fields):
            raise ValueError(f"{name} holds {str(entity)[:60]!r}; {', '.join(fields)} are wanted")
        tuples.append(parts)
    return tuples


def tolerant(read: Callable[[Row], Any], row: Row, identifier: str) -> Any | LeftOut:
    """Result of ``read`` on the row, or `LeftOut` if the row is not in the published format."""
    try:
        return read(row)
    except (ValueError, KeyError, TypeError, IndexError, UserError, msgspec.MsgspecError) as error:
        return LeftOut(identifier, "bad_line", f"{row.location}: {error}")
