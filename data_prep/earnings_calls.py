"""Shared readers of Earnings-21 and Earnings-22: ``.nlp`` transcripts (one word per line) and call tables.

An ``.nlp`` file has the columns token, speaker, ts, endTs, punctuation, case, tags and, in references, wer_tags:
ids of the entities that the word belongs to, whose types are in ``wer_tags/<id>.wer_tag.json`` beside the folder of
transcripts. A call is one utterance; its text has the written words with punctuation.
"""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import UserError

from .corpus import Clip, Item, LeftOut, Request
from .tables import read_lines

REQUIRED = ("token", "speaker", "ts", "endTs", "punctuation")
SUFFIXES = (".mp3", ".wav", ".flac", ".m4a", ".ogg")
MAX_SIDECAR = 16 << 20


def nlp_rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of an ``.nlp`` file.

    Raises:
        ValueError: with the line whose number of cells differs from the header's, or if the header lacks a column.
    """
    head: list[str] | None = None
    for number, line in read_lines(path):
        cells = line.split("|")
        if head is None:
            head = cells
            lacking = [name for name in REQUIRED if name not in head]
            if lacking:
                raise ValueError(f"{path}:{number}: lacks the columns {', '.join(lacking)}; use the file as published")
        elif len(cells) != len(head):
            raise ValueError(f"{path}:{number}: has {len(cells)} cells and the header {len(head)}")
        else:
            yield dict(zip(head, cells, strict=True))


def read_call(path: Path, sidecar: Path) -> tuple[str, dict[str, Any]]:
    """Text of a call, and its fields for ``custom``: speaker turns, entities, and words with times if present.

    ``wer_tags`` are [TYPE, first character, length] in the text; they may be nested.

    Raises:
        ValueError: if the file or its sidecar is not in the published format.
    """
    types = _entity_types(sidecar)
    pieces: list[str] = []
    words: list[list[Any]] = []
    open_spans: dict[str, list[int]] = {}
    spans: list[list[Any]] = []
    speakers: list[str] = []
    at = 0
    for number, row in enumerate(nlp_rows(path), 2):
        token = " ".join(row["token"].split())
        if not token:
            continue
        tagged = _tags(row.get("wer_tags", ""), path, number)
        closed = {tag: open_spans.pop(tag) for tag in list(open_spans) if tag not in tagged}
        spans += [[types.get(tag, tag), begin, end - begin] for tag, (begin, end) in closed.items()]
        for tag in tagged:
            open_spans.setdefault(tag, [at, 0])[1] = at + len(token)
        pieces.append(token + row["punctuation"].strip())
        at += len(pieces[-1]) + 1
        if row["speaker"] and (not speakers or speakers[-1] != row["speaker"]):
            speakers.append(row["speaker"])
        begin, end = _seconds(row["ts"]), _seconds(row["endTs"])
        if begin is not None and end is not None:
            words.append([token, begin, end])
    spans += [[types.get(tag, tag), begin, end - begin] for tag, (begin, end) in open_spans.items()]
    custom: dict[str, Any] = {"speakers": len(set(speakers)), "turns": len(speakers)}
    if types:
        custom["wer_tags"] = sorted(spans, key=lambda span: (span[1], -span[2]))
    if words:
        custom["words"] = words
    return " ".join(pieces), custom


def _entity_types(sidecar: Path) -> dict[str, str]:
    if not sidecar.is_file():
        return {}
    if sidecar.stat().st_size > MAX_SIDECAR:
        raise ValueError(f"{sidecar}: is larger than 16 MiB; this is no list of entities")
    try:
        entities = msgspec.json.decode(sidecar.read_bytes(), type=dict[str, dict[str, Any]])
        return {number: str(entity["entity_type"]) for number, entity in entities.items()}
    except (msgspec.MsgspecError, KeyError) as error:
        raise ValueError(f"{sidecar}: is no list of entities with entity_type ({error})") from error


def _tags(cell: str, path: Path, number: int) -> list[str]:
    if cell.strip() in ("", "[]"):
        return []
    try:
        tags = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path}:{number}: wer_tags {cell[:60]!r} are no list") from error
    return [str(tag) for tag in tags] if isinstance(tags, list | tuple) else [str(tags)]


def _seconds(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if 0 <= value < 1e6 else None


def read_calls(
    request: Request, transcripts: Path, suffix: str, names: list[str], about: dict[str, dict[str, str]]
) -> Iterator[Item]:
    """One clip per call, with the fields of its table in ``custom``."""
    media = request.source / "media"
    for name in names:
        transcript = transcripts / f"{name}{suffix}"
        if not transcript.is_file():
            yield LeftOut(name, "transcript_missing", f"{transcript}: is not there and the table names the call")
            continue
        audio = next((path for s in SUFFIXES if (path := media / f"{name}{s}").is_file()), media / f"{name}.mp3")
        try:
            text, custom = read_call(transcript, transcripts.parent / "wer_tags" / f"{name}.wer_tag.json")
        except (ValueError, UserError) as error:
            yield LeftOut(name, "bad_line", str(error))
            continue
        yield Clip(name, audio, text, lang="en", custom={**about.get(name, {}), **custom})


def read_about(path: Path, key: str, wanted: dict[str, str]) -> dict[str, dict[str, str]]:
    """Columns of a call table, renamed by ``wanted``, keyed by call; empty if the table is absent.

    Raises:
        UserError: if the table has no column ``key``.
    """
    if not path.is_file():
        return {}
    rows = list(csv.reader(line for _, line in read_lines(path)))
    if not rows or key not in rows[0]:
        raise UserError(f"{path}: has no column {key}; use the table as published")
    calls = {}
    for row in rows[1:]:
        fields = dict(zip(rows[0], row, strict=False))
        if fields.get(key):
            calls[fields[key]] = {new: fields[old] for old, new in wanted.items() if fields.get(old)}
    return calls
