"""Rows of references and predictions with named fields, from every form that SLUE's users have.

Rows come from ``.jsonl`` (manifests of ``speechkit prepare`` with their ``custom`` fields, Hugging Face rows), ``.tsv``
and ``.csv`` with a header (the released tables and submissions), and the toolkit's files of one line an utterance
(``.wrd``, ``.sent``, ``.da``), whose ids stand in the fairseq manifest beside them. A cell that holds a Python list, as
the released tables do, is read as data and never run.
"""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from speechkit.data.manifest import read_jsonl
from speechkit.errors import UserError
from speechkit.metrics.text_lines import numbered_lines

IDS = ("id", "utt_id", "utterance_id", "question_id", "key")
SPEAKERS = ("speaker", "speaker_id", "question_speaker_id")
CALLS = ("recording", "issue_id", "document_id", "call")
LINE_FILES = {".wrd": "text", ".sent": "sentiment", ".da": "dialog_acts"}
MAX_LITERAL = 1 << 20
MAX_JSON_BYTES = 64 << 20
ABSENT = ("", "None", "none", "null", "nan", "NaN")


class Row(msgspec.Struct, frozen=True):
    """The fields of one id, the place (``file:line``) that they were read from, and what it can be grouped by."""

    id: str
    place: str
    fields: dict[str, Any]

    def first(self, names: Sequence[str]) -> Any:
        """The value of the first of ``names`` that is there and not None; None if none is."""
        return next((self.fields[name] for name in names if self.fields.get(name) is not None), None)

    def has(self, names: Sequence[str]) -> bool:
        """Whether one of the names is a field of the row, with or without a value."""
        return any(name in self.fields for name in names)

    @property
    def speaker(self) -> str | None:
        """Its speaker, where a field says so."""
        value = self.first(SPEAKERS)
        return None if value is None else str(value)

    @property
    def call(self) -> str | None:
        """The call or document that it belongs to, where a field says so."""
        value = self.first(CALLS)
        return None if value is None else str(value)


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, in its order.

    Raises:
        UserError: with ``file:line`` for a row without an id, an id that stands twice, or what is not the form that the
            file's name says; for a file that is not UTF-8, has a line of over 16 MiB, or holds no row.
    """
    name = path.name.removesuffix(".gz")
    suffix = Path(name).suffix
    if suffix in LINE_FILES:
        rows = _line_rows(path, LINE_FILES[suffix])
    elif suffix in (".jsonl", ".ndjson"):
        rows = (_named(f"{path}:{n}", fields) for n, fields in enumerate(read_jsonl(path, dict[str, Any]), 1))
    elif suffix in (".tsv", ".csv"):
        rows = (_named(f"{path}:{n}", fields) for n, fields in table_fields(path, "\t" if suffix == ".tsv" else ","))
    else:
        raise UserError(
            f"{path}: the form of {suffix or 'a file without a suffix'} is not known; "
            f"give .jsonl, .tsv, .csv or {', '.join(LINE_FILES)}"
        )
    found: list[Row] = []
    places: dict[str, str] = {}
    for row in rows:
        if row.id in places:
            raise UserError(f"{row.place}: {row.id} stands twice (first at {places[row.id]}); every id must be unique")
        places[row.id] = row.place
        found.append(row)
    if not found:
        raise UserError(f"{path}: holds no row; the split is empty")
    return found


def text_of(row: Row, names: Sequence[str]) -> str:
    """The first of the fields that is there.

    Raises:
        UserError: if there is none, or it is no text.
    """
    value = row.first(names)
    if not isinstance(value, str):
        raise UserError(f"{row.place}: {row.id} has no text ({', '.join(names)}); give every row one")
    return value


def literal(value: Any, place: str, what: str) -> Any:
    """A value as it is, or what a string of Python or JSON data says; None for an empty cell.

    Raises:
        UserError: if a string is no data.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text in ABSENT:
        return None
    if len(text) > MAX_LITERAL:
        raise UserError(f"{place}: {what} is longer than 1 MiB; this is no list of labels")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        pass
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UserError(f"{place}: {what} is neither a list nor None ({text[:60]!r}); fix the cell") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file of at most 64 MiB.

    Raises:
        UserError: if it is larger, cannot be read, or is no JSON.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(f"{path}: is larger than 64 MiB; write one JSON object a line (.jsonl)")
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}; check the path") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is no JSON ({error}); write it again as UTF-8 JSON") from error


def _named(place: str, fields: Mapping[str, Any]) -> Row:
    custom = fields.get("custom")
    merged = {**custom, **fields} if isinstance(custom, Mapping) else dict(fields)
    identifier = next((merged[name] for name in IDS if merged.get(name) not in (None, "")), None)
    if identifier is None and all(str(merged.get(k, "")).isdigit() for k in ("start_ms", "duration_ms")):
        # A clip of SLUE's dialog acts is named by its call and its milliseconds.
        begin = int(merged["start_ms"])
        identifier = f"{merged.get('issue_id')}_{begin}_{begin + int(merged['duration_ms'])}"
    if identifier is None:
        raise UserError(f"{place}: has no id; give each row one of {', '.join(IDS)}")
    return Row(str(identifier), place, merged)


def table_fields(path: Path, separator: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, cells by the names of the first line) of a table.

    Raises:
        UserError: with ``file:line`` if a row has another number of cells than the header.
    """
    lines = numbered_lines(path)
    _, first = next(lines, (1, ""))
    head = _cells(first, separator)
    for number, line in lines:
        cells = _cells(line, separator)
        if len(cells) != len(head):
            raise UserError(f"{path}:{number}: has {len(cells)} cells and the header {len(head)}; fix the row")
        yield number, dict(zip(head, cells, strict=True))


def _cells(line: str, separator: str) -> list[str]:
    if separator == "\t" and '"' not in line:
        return line.split("\t")
    csv.field_size_limit(1 << 24)
    # pandas, which wrote the released tables, quotes a cell that holds a quotation mark.
    return next(csv.reader([line], delimiter=separator), [])


def _line_rows(path: Path, field: str) -> Iterator[Row]:
    texts = dict(numbered_lines(path))
    ids = _manifest_ids(path)
    count = max(texts, default=0)
    if ids is None:
        ids = [str(number) for number in range(1, count + 1)]
    elif count > len(ids):
        raise UserError(f"{path}:{count}: is beyond the {len(ids)} utterances of the manifest beside it; fix one")
    for number, identifier in enumerate(ids, 1):
        yield Row(identifier, f"{path}:{number}", {field: texts.get(number, "")})


def _manifest_ids(path: Path) -> list[str] | None:
    """Stems of the audio files that the fairseq manifest of the same split names, in the folder or the one above."""
    split = path.name.split(".", 1)[0]
    for folder in (path.parent, path.parent.parent):
        manifest = folder / f"{split}.tsv"
        if not manifest.is_file():
            continue
        lines = [line for _, line in numbered_lines(manifest)]
        if lines and "\t" not in lines[0]:
            return [Path(line.split("\t")[0]).stem for line in lines[1:]]
    return None
