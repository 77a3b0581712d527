"""The toolkit's files of entity localisation: JSON of words or spans by id, CSV of entities.

``{split}_tagged_word_alignments.json`` holds ``{id: [[word, begin, end], ...]}`` with ``#`` before words of entities;
``{split}_entity_alignments.csv`` beside it the entities (id, entity_phrase, start, end, entity_label). Predictions are
``{id: [[phrase, begin, end], ...]}`` or pairs ``[begin, end]``; times that reach into thousands are milliseconds where
the file says so in its name (``_ms.json``), seconds otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from speechkit.errors import UserError
from speechkit.slue.rows import Row, read_json, table_fields

ALIGNMENTS = "_tagged_word_alignments.json"
ENTITIES = "_entity_alignments.csv"


def is_localisation_file(path: Path) -> bool:
    """Whether the file is one JSON object by id, rather than rows."""
    return path.suffix == ".json"


def read_localisation_rows(path: Path) -> list[Row]:
    """One row an id: ``words`` and ``entity_spans`` of an alignment file, ``pred_spans`` of any other.

    Raises:
        UserError: if the file is not one JSON object of lists by id, or holds none.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(value, list) for value in content.values()):
        raise UserError(f"{path}: is no JSON object of lists by id; write {{id: [[phrase, begin, end], ...]}}")
    if not content:
        raise UserError(f"{path}: holds no id; the split is empty")
    if path.name.endswith(ALIGNMENTS):
        entities = _entities(path.with_name(path.name.removesuffix(ALIGNMENTS) + ENTITIES))
        unknown = sorted(set(entities) - set(content))
        if unknown:
            raise UserError(f"{path}: has no words of {unknown[0]}, whose entities stand in the csv; mend one")
        return [Row(i, path.as_posix(), {"words": content[i], "entity_spans": entities.get(i, [])}) for i in content]
    scale = 0.001 if path.stem.endswith("_ms") else 1.0
    return [
        Row(i, path.as_posix(), {"pred_spans": [_scaled(span, scale) for span in spans]})
        for i, spans in content.items()
    ]


def _scaled(span: Any, scale: float) -> Any:
    if scale == 1.0 or not isinstance(span, list):
        return span
    return [part * scale if isinstance(part, int | float) else part for part in span]


def _entities(path: Path) -> dict[str, list[list[Any]]]:
    found: dict[str, list[list[Any]]] = {}
    if not path.is_file():
        return found
    for row in _entity_rows(path):
        found.setdefault(str(row["id"]), []).append([row["entity_phrase"], row["start"], row["end"]])
    return found


def _entity_rows(path: Path) -> list[dict[str, Any]]:
    rows = list(table_fields(path, ","))
    for number, fields in rows:
        lacking = [name for name in ("id", "entity_phrase", "start", "end") if name not in fields]
        if lacking:
            raise UserError(f"{path}:{number}: lacks {', '.join(lacking)}; write the header of the released file")
    return [fields for _, fields in rows]
