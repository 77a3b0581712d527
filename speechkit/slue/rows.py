"""Readers of reference and prediction rows in all formats used for SLUE.

Rows come from ``.jsonl`` (manifests of ``speechkit prepare`` with their ``custom`` fields, Hugging Face rows), ``.tsv``
and ``.csv`` with a header (the released tables and submissions), and the toolkit's files with one line per utterance
(``.wrd``, ``.sent``, ``.da``), whose ids are in the fairseq manifest beside them. Cells with a Python list, as in the
released tables, are parsed as literals, never evaluated.
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
    """The fields of one id, with their source ``file:line`` in ``location``."""

    id: str
    location: str
    fields: dict[str, Any]

    def first(self, names: Sequence[str]) -> Any:
        """The value of the first field of ``names`` that is not None, else None."""
        return next((self.fields[name] for name in names if self.fields.get(name) is not None), None)

    def has(self, names: Sequence[str]) -> bool:
        """Whether the row has a field of one of the names, even if its value is None."""
        return any(name in self.fields for name in names)

    @property
    def speaker(self) -> str | None:
        """The speaker, None if unknown."""
        value = self.first(SPEAKERS)
        return None if value is None else str(value)

    @property
    def call(self) -> str | None:
        """The call or document of the row, None if unknown."""
        value = self.first(CALLS)
        return None if value is None else str(value)


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, in its order.

    Raises:
        UserError: with ``file:line`` for a row without an id, a duplicate id, or invalid syntax; for a file that is not
            UTF-8, has a line longer than 16 MiB, or is empty.
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
            f"{path}: unsupported format {suffix or '(no suffix)'}; give .jsonl, .tsv, .csv or {', '.join(LINE_FILES)}"
        )
    unique: dict[str, Row] = {}
    for row in rows:
        if row.id in unique:
            raise UserError(
                f"{row.location}: duplicate id {row.id} (first at {unique[row.id].location}); make ids unique"
            )
        unique[row.id] = row
    if not unique:
        raise UserError(f"{path}: contains no rows; the split is empty")
    return list(unique.values())


def text_of(row: Row, names: Sequence[str]) -> str:
    """The text in the first of the fields that is set.

    Raises:
        UserError: if no field is set, or its value is not a string.
    """
    value = row.first(names)
    if not isinstance(value, str):
        raise UserError(f"{row.location}: {row.id} has no text ({', '.join(names)}); add one to every row")
    return value


def literal(value: Any, location: str, what: str) -> Any:
    """The value parsed from a string of Python or JSON data, None for an empty cell; other values unchanged.

    Raises:
        UserError: if a string cannot be parsed.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text in ABSENT:
        return None
    if len(text) > MAX_LITERAL:
        raise UserError(f"{location}: {what} is longer than 1 MiB, too long for a list; fix the cell")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        pass
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UserError(f"{location}: {what} is neither a list nor None ({text[:60]!r}); fix the cell") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file of at most 64 MiB.

    Raises:
        UserError: if it is larger, cannot be read, or is not valid JSON.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(f"{path}: larger than 64 MiB; write one JSON object per line (.jsonl)")
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}; check the path") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); write it again as UTF-8 JSON") from error


def _named(location: str, fields: Mapping[str, Any]) -> Row:
    custom = fields.get("custom")
    merged = {**custom, **fields} if isinstance(custom, Mapping) else dict(fields)
    identifier = next((merged[name] for name in IDS if merged.get(name) not in (None, "")), None)
    if identifier is None and all(str(merged.get(k, "")).isdigit() for k in ("start_ms", "duration_ms")):
        # Clips of SLUE's dialog acts are identified by call and milliseconds.
        begin = int(merged["start_ms"])
        identifier = f"{merged.get('issue_id')}_{begin}_{begin + int(merged['duration_ms'])}"
    if identifier is None:
        raise UserError(f"{location}: has no id; add one of the fields {', '.join(IDS)} to each row")
    return Row(str(identifier), location, merged)


def table_fields(path: Path, separator: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, cells by column name) of each row of a table with a header.

    Raises:
        UserError: with ``file:line`` if the numbers of cells of a row and the header differ.
    """
    lines = numbered_lines(path)
    _, first = next(lines, (1, ""))
    header = _cells(first, separator)
    for number, line in lines:
        cells = _cells(line, separator)
        if len(cells) != len(header):
            raise UserError(f"{path}:{number}: has {len(cells)} cells, the header {len(header)}; fix the row")
        yield number, dict(zip(header, cells, strict=True))


def _cells(line: str, separator: str) -> list[str]:
    if separator == "\t" and '"' not in line:
        return line.split("\t")
    csv.field_size_limit(1 << 24)
    # The released tables were written by pandas, which quotes cells with quotation marks.
    return next(csv.reader([line], delimiter=separator), [])


def _line_rows(path: Path, field: str) -> Iterator[Row]:
    texts = dict(numbered_lines(path))
    ids = _manifest_ids(path)
    count = max(texts, default=0)
    if ids is None:
        ids = [str(number) for number in range(1, count + 1)]
    elif count > len(ids):
        raise UserError(f"{path}:{count}: the manifest beside it has only {len(ids)} utterances; fix one of the files")
    for number, identifier in enumerate(ids, 1):
        yield Row(identifier, f"{path}:{number}", {field: texts.get(number, "")})


def _manifest_ids(path: Path) -> list[str] | None:
    """Stems of the audio files in the split's fairseq manifest, in the same or the parent folder; None without one."""
    split = path.name.split(".", 1)[0]
    for folder in (path.parent, path.parent.parent):
        manifest = folder / f"{split}.tsv"
        if not manifest.is_file():
            continue
        lines = [line for _, line in numbered_lines(manifest)]
        if lines and "\t" not in lines[0]:
            return [Path(line.split("\t")[0]).stem for line in lines[1:]]
    return None
