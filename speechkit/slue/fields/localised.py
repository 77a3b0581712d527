"""Word and entity times for localisation, from rows and from the toolkit's files (JSON by id, CSV of entities).

``{split}_tagged_word_alignments.json`` contains ``{id: [[word, begin, end], ...]}`` with ``#`` before entity words,
``{split}_entity_alignments.csv`` the entities (id, entity_phrase, start, end, entity_label). Predictions are
``{id: [[phrase, begin, end], ...]}`` or pairs ``[begin, end]``, in milliseconds if the file is named ``_ms.json``,
else in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechkit.errors import UserError
from speechkit.slue.fields import Options, missing_field
from speechkit.slue.fields.answers import time_span
from speechkit.slue.metrics.localisation import AlignedWord, Span, read_marked, score_localisation
from speechkit.slue.metrics.measures import Resampling, TaskScore
from speechkit.slue.rows import Row, literal, read_json, table_fields

Located = tuple[list[AlignedWord], list[Span]]


def gold_localised(row: Row, options: Options) -> Located:
    """Aligned words, each flagged if it belongs to an entity, and the spans of the entities."""
    words: list[AlignedWord] = []
    spans = _spans(row, ("entity_spans", "entities"))
    alignment = row.fields.get("alignment")
    if row.has(("words",)):
        try:
            words = read_marked(literal(row.fields["words"], row.location, "words") or [])
        except (TypeError, ValueError) as error:
            raise UserError(f"{row.location}: {row.id}: words are not lists [word, begin, end]; fix them") from error
    elif isinstance(alignment, Mapping) and alignment.get("word"):
        for item in alignment["word"]:
            text, begin, length = str(item[0]), float(item[1]), float(item[2])
            inside = any(b - 1e-6 <= begin and begin + length <= e + 1e-6 for _, b, e in spans)
            words.append(AlignedWord(text, begin, begin + length, inside))
    elif not spans and not row.has(("entity_spans", "entities")):
        raise missing_field(row, ("words", "alignment"), "aligned words")
    return words, spans


def predicted_localised(row: Row, options: Options) -> list[Span]:
    """The predicted spans of a row."""
    names = ("pred_spans", "spans", "entities", "entity_spans")
    if not row.has(names):
        raise missing_field(row, names[:2], "predicted spans")
    return _spans(row, names)


def _spans(row: Row, names: Sequence[str]) -> list[Span]:
    """[phrase, begin, end], [begin, end], or [tag, phrase, begin, end], in seconds."""
    given = literal(row.first(names), row.location, names[0])
    spans: list[Span] = []
    for item in given or []:
        parts = list(item) if isinstance(item, list | tuple) else []
        if len(parts) not in (2, 3, 4):
            raise UserError(f"{row.location}: {row.id}: {item!r} is not a span; give [phrase, begin, end] in seconds")
        begin, end = time_span(row, parts[-2:])
        spans.append((str(parts[-3]) if len(parts) > 2 else "", begin, end))
    return spans


def score_localised(
    gold: Sequence[Located], predicted: Sequence[Sequence[Span]], ids: Sequence[str], options: Options, r: Resampling
) -> TaskScore:
    """Frame and word F1 over all utterances."""
    # Groups come in the order of ids; the score uses ids in sorted order.
    if r.groups is not None:
        of = dict(zip(ids, r.groups, strict=True))
        r = Resampling(r.resamples, r.seed, r.confidence, tuple(of[i] for i in sorted(ids)))
    return score_localisation(
        {i: words for i, (words, _) in zip(ids, gold, strict=True) if words},
        dict(zip(ids, predicted, strict=True)),
        {i: spans for i, (_, spans) in zip(ids, gold, strict=True)},
        compat=options.compat,
        resampling=r,
    )


def _spans_shown(spans: Sequence[Span]) -> str:
    return ", ".join(f"{phrase} {begin:.2f}-{end:.2f} s".strip() for phrase, begin, end in spans) or "(none)"


def localised_shown(value: Any) -> str:
    """Human-readable spans."""
    return _spans_shown(value[1] if isinstance(value, tuple) else value)


ALIGNMENTS = "_tagged_word_alignments.json"
ENTITIES = "_entity_alignments.csv"


def read_localisation_rows(path: Path) -> list[Row]:
    """One row per id: ``words`` and ``entity_spans`` from an alignment file, ``pred_spans`` from any other.

    Raises:
        UserError: if the file is not a JSON object of lists by id, or is empty.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(value, list) for value in content.values()):
        raise UserError(f"{path}: not a JSON object of lists by id; write {{id: [[phrase, begin, end], ...]}}")
    if not content:
        raise UserError(f"{path}: contains no ids; the split is empty")
    if path.name.endswith(ALIGNMENTS):
        entities = _entities_beside(path.with_name(path.name.removesuffix(ALIGNMENTS) + ENTITIES))
        unknown = sorted(set(entities) - set(content))
        if unknown:
            raise UserError(f"{path}: no words of {unknown[0]}, which has entities in the csv; fix one of the files")
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


def _entities_beside(path: Path) -> dict[str, list[list[Any]]]:
    entities: dict[str, list[list[Any]]] = {}
    if not path.is_file():
        return entities
    for row in _entity_rows(path):
        entities.setdefault(str(row["id"]), []).append([row["entity_phrase"], row["start"], row["end"]])
    return entities


def _entity_rows(path: Path) -> list[dict[str, Any]]:
    rows = list(table_fields(path, ","))
    for number, fields in rows:
        absent = [name for name in ("id", "entity_phrase", "start", "end") if name not in fields]
        if absent:
            raise UserError(f"{path}:{number}: missing {', '.join(absent)}; use the header of the released file")
    return [fields for _, fields in rows]
