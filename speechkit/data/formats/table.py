"""CSV with one column per field and nested fields as JSON. An empty string and None are the same."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from speechkit.data.formats.identity import Identifiers, utterance_from_fields
from speechkit.data.formats.losses import OPTIONAL, Losses, Written
from speechkit.data.formats.nemo import KINDS
from speechkit.data.manifest import rebase
from speechkit.data.records import Utterance
from speechkit.errors import ManifestError
from speechkit.io.atomic import atomic_path

COLUMNS = [field.encode_name for field in msgspec.structs.fields(Utterance)]
TEXTS = ("text", "speaker", "lang", "features")
NUMBERS = ("offset", "duration", "sample_rate", "channel", "score")
CELL_CHARACTERS = 16 << 20


def write_csv(records: Iterable[Utterance], path: Path, folder: Path) -> Written:
    """Write a CSV file with a header; relative audio paths of the records refer to ``folder``."""
    losses = Losses(OPTIONAL)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for record in losses.passing(rebase(records, folder, path.parent)):
            values = msgspec.to_builtins(record)
            for name in TEXTS:
                if values.get(name) == "":
                    losses.changed[f"{name} empty, read back as none"] += 1
            writer.writerow([_cell(values.get(name, OPTIONAL.get(name))) for name in COLUMNS])
    return losses.written(path)


def read_csv(path: Path, folder: Path) -> Iterator[Utterance]:
    """Read a CSV file with a header; ``audio_filepath`` is required, unknown columns go to ``custom``."""
    csv.field_size_limit(CELL_CHARACTERS)
    identifiers = Identifiers()
    try:
        file = path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or error}; check the path") from error
    with file:
        reader = csv.DictReader(file)
        try:
            if "audio_filepath" not in (reader.fieldnames or []):
                raise ManifestError(f"{path}:1: has no column audio_filepath; name the columns in the first line")
            for row in reader:
                location = f"{path}:{reader.line_num}"
                if None in row or None in row.values():
                    raise ManifestError(f"{location}: has another number of cells than the header; fix the row")
                yield _utterance(location, {k: v for k, v in row.items() if v != ""}, path, folder, identifiers)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ManifestError(f"{path}:{reader.line_num + 1}: is not CSV in UTF-8 ({error}); fix it") from error


def _utterance(location: str, row: dict[str, Any], path: Path, folder: Path, identifiers: Identifiers) -> Utterance:
    audio = row.pop("audio_filepath", None)
    if audio is None:
        raise ManifestError(f"{location}: audio_filepath is empty; give each row the path of its audio")
    known: dict[str, Any] = {}
    for name, kind in KINDS.items():
        cell = row.pop(name, None)
        if cell is None:
            continue
        try:
            if kind is str:
                known[name] = cell
            elif name in NUMBERS:
                known[name] = msgspec.convert(cell, kind, strict=False)
            else:
                known[name] = msgspec.json.decode(cell, type=kind)
        except msgspec.MsgspecError as error:
            raise ManifestError(f"{location}: column {name}: {error}") from error
    try:
        custom = msgspec.json.decode(row.pop("custom", "{}"), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ManifestError(f"{location}: column custom: {error}") from error
    custom = {**{key: value for key, value in row.items() if key}, **custom}
    return utterance_from_fields(location, path.parent, audio, {**known, "custom": custom or None}, folder, identifiers)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
