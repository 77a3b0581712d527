"""Training examples of end-to-end systems: the utterances of a manifest with the task's targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from speechkit.data.manifest import read_manifest
from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.slue.fields import Options
from speechkit.slue.fields.entities import GOLD_ENTITIES, TEXT_OF, TEXTS
from speechkit.slue.metrics.entity_tags import END_SYMBOL, SYMBOLS, TagSet
from speechkit.slue.metrics.entity_text import TaggedWord, mark_entities, tag_words
from speechkit.slue.rows import Row, literal
from speechkit.slue.tasks import TASKS

NO_VALUE = "none"
"""The class of a slot without a value."""
CLASS_TASKS = ("sentiment", "intent", "dialog-acts", "slots")
TRAINABLE_TASKS = (*CLASS_TASKS, "ner", "qa", "summarisation")


class Example(msgspec.Struct, frozen=True):
    """An utterance and its target.

    The target is {field: class} for sentiment, intent and slots; the classes for dialog-acts; a transcript with entity
    symbols for ner; (document id, begin, end in seconds) for qa; a text for summarisation.
    """

    utterance: Utterance
    target: Any


class Examples(msgspec.Struct, frozen=True):
    """Examples in the manifest's order, and the number of excluded rows by reason."""

    items: list[Example]
    left_out: dict[str, int]


def read_examples(task: str, manifest: Path, *, symbols: TagSet = "raw", max_seconds: float = 30.0) -> Examples:
    """The examples of a manifest.

    Args:
        task: one of `TRAINABLE_TASKS`.
        manifest: from ``speechkit prepare``, or any with the task's fields in ``custom``.
        symbols: symbol set of entities.
        max_seconds: longer utterances are excluded and counted.

    Raises:
        UserError: naming a row without its label, or if there are no examples.
    """
    if task not in TRAINABLE_TASKS:
        raise UserError(f"{task!r}: no end-to-end system for this task; use one of {', '.join(TRAINABLE_TASKS)}")
    items: list[Example] = []
    left_out: Counter[str] = Counter()
    for number, utterance in enumerate(read_manifest(manifest), 1):
        row = row_of(utterance, f"{manifest}:{number}")
        reason = TASKS[task].skip(row) if task in TASKS else None
        if reason is None and utterance.duration > max_seconds:
            reason = f"longer than {max_seconds:g} s"
        if reason is not None:
            left_out[reason] += 1
            continue
        items.append(Example(utterance, _target(task, row, symbols)))
    if not items:
        raise UserError(f"{manifest}: no examples of {task} ({dict(left_out)}); give another manifest")
    return Examples(items, dict(left_out))


def read_passages(documents: Path | None) -> dict[str, Utterance]:
    """The passages of spoken questions by id.

    Raises:
        UserError: if ``documents`` is None.
    """
    if documents is None:
        raise UserError("question answering needs the manifest of the documents; give --documents")
    return {row.id: row for row in read_manifest(documents)}


def read_questions(manifest: Path, documents: Path | None) -> Iterator[tuple[Utterance, Utterance]]:
    """The questions of a manifest, each with its passage.

    Raises:
        UserError: if ``documents`` does not contain the passage.
    """
    passages = read_passages(documents)
    for question in read_manifest(manifest):
        name = str((question.custom or {}).get("document_id"))
        if name not in passages:
            raise UserError(f"{manifest}: {question.id}: its document {name} is not in {documents}; add it there")
        yield question, passages[name]


def row_of(utterance: Utterance, location: str) -> Row:
    """A manifest's row in the format of scoring."""
    fields = {**(utterance.custom or {})}
    if utterance.text is not None:
        fields.setdefault("text", utterance.text)
    return Row(utterance.id, location, fields)


def _target(task: str, row: Row, symbols: TagSet) -> Any:
    if task == "slots":
        return slot_fields(row)
    if task == "ner":
        return marked_transcript(row, symbols)
    gold = TASKS[task].gold(row, Options())
    if task in ("sentiment", "intent"):
        return {task: gold}
    if task == "qa":
        document = row.fields.get("document_id")
        if document is None:
            raise UserError(f"{row.location}: {row.id} has no document_id; add the id of the question's document")
        return str(document), *gold.spans[0]
    return gold


def slot_fields(row: Row) -> dict[str, str]:
    """The intent, if the row has one, and the value of each slot, with white space normalised.

    Raises:
        UserError: if the row has no slots, or a slot is named intent.
    """
    slots = literal(row.fields.get("slots"), row.location, "slots")
    if not isinstance(slots, dict):
        raise UserError(
            f"{row.location}: {row.id} has no slots; add an object of slot to value to every row, {{}} for none"
        )
    if "intent" in slots:
        raise UserError(f"{row.location}: {row.id} has a slot named intent; rename it")
    fields = {str(name): " ".join(str(value).split()) or NO_VALUE for name, value in slots.items()}
    intent = row.fields.get("intent")
    return fields if intent is None else {"intent": str(intent), **fields}


def marked_transcript(row: Row, symbols: TagSet = "raw") -> str:
    """The lower-case transcript with a symbol before each entity and ``]`` after it.

    Symbol characters are removed from words, where they would be ambiguous.

    Raises:
        UserError: if there is no text or no entities, or an entity is outside the text.
    """
    name = next((n for n in GOLD_ENTITIES if n in row.fields), None)
    text = row.first(TEXT_OF.get(name or "", TEXTS))
    if name is None or not isinstance(text, str):
        raise UserError(
            f"{row.location}: {row.id} has no entities ({', '.join(GOLD_ENTITIES[:3])}) or no text; add both"
        )
    given = literal(row.fields[name], row.location, name) or []
    try:
        spans = _spans(text, given)
        words = tag_words(text, spans, tags="combined" if symbols == "combined" else "raw")
    except UserError as error:
        raise UserError(f"{row.location}: {row.id}: {error}") from error
    removed = str.maketrans("", "", "".join(SYMBOLS[symbols].values()) + END_SYMBOL)
    clean: list[TaggedWord] = [
        (word, tag) for spoken, tag in words if (word := "".join(spoken.lower().translate(removed).split()))
    ]
    return mark_entities(_repair_starts(clean), symbols=symbols)


def _repair_starts(words: Sequence[TaggedWord]) -> list[TaggedWord]:
    """Retag an I-TAG as B-TAG if the first word of its entity was removed."""
    repaired: list[TaggedWord] = []
    before = "O"
    for word, tag in words:
        orphan = tag.startswith("I-") and (before == "O" or before[2:] != tag[2:])
        repaired.append((word, "B-" + tag[2:]) if orphan else (word, tag))
        before = tag
    return repaired


def _spans(text: str, given: Sequence[Any]) -> list[tuple[str, int, int]]:
    """Character spans, from spans or from phrases in text order."""
    spans: list[tuple[str, int, int]] = []
    position = 0
    for entity in given:
        match entity:
            case [str(tag), int(begin), int(length)]:
                spans.append((tag, begin, length))
            case [str(tag), str(phrase), *_]:
                begin = text.find(phrase, position)
                if begin < 0:
                    raise UserError(f"the phrase {phrase!r} is not in the text after the previous entity; give spans")
                spans.append((tag, begin, len(phrase)))
                position = begin + len(phrase)
            case _:
                raise UserError(f"{entity!r} is not an entity; give [TAG, start, length] or [TAG, phrase]")
    return spans


def label_sets(task: str, examples: Sequence[Example]) -> dict[str, list[str]]:
    """Sorted classes of every field in the training examples, with `NO_VALUE` for slots that can be empty.

    Raises:
        UserError: if no field has more than one class.
    """
    if task == "dialog-acts":
        return {"dialog_acts": sorted({label for example in examples for label in example.target})}
    fields: dict[str, set[str]] = {}
    for example in examples:
        for name, value in example.target.items():
            fields.setdefault(name, set()).add(value)
    for name, values in fields.items():
        if task == "slots" and name != "intent" and any(name not in example.target for example in examples):
            values.add(NO_VALUE)
    if not any(len(values) > 1 for values in fields.values()):
        raise UserError(f"the training examples of {task} have only one class; give examples of at least two")
    return {name: sorted(values) for name, values in sorted(fields.items())}
