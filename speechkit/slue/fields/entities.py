"""Named entities as [[TAG, phrase], ...], as [[TAG, start, length], ...] with a text, or as symbols in a text."""

from __future__ import annotations

from collections.abc import Sequence

from speechkit.errors import UserError
from speechkit.slue.fields import Options, missing_field
from speechkit.slue.metrics.entity_tags import combined_tag
from speechkit.slue.metrics.entity_text import Entity, entities_of_tags, parse_entities, plain_text, tag_words
from speechkit.slue.rows import Row, literal

GOLD_ENTITIES = ("normalized_ner", "ner", "entities", "normalized_combined_ner", "raw_ner")
PREDICTED_ENTITIES = ("pred_ner", "pred_entities", "entities", "ner")
TEXT_OF = {"raw_ner": ("raw_text",)}
TEXTS = ("normalized_text", "text", "raw_text")
HYPOTHESES = ("pred_text", "hypothesis")


def recognised_text(row: Row, names: Sequence[str], entities: Sequence[str], options: Options) -> str | None:
    """The words of a row, without entity symbols if no field of ``entities`` is there; None if no field is a text."""
    text = row.first(names)
    if not isinstance(text, str):
        return None
    return text if row.has(entities) else plain_text(text, symbols=options.symbols)


def gold_entities(row: Row, options: Options) -> list[Entity]:
    """The gold entities of a row."""
    return _entities(row, GOLD_ENTITIES, ("text", "normalized_text"), options)


def predicted_entities(row: Row, options: Options) -> list[Entity]:
    """The predicted entities of a row."""
    return _entities(row, PREDICTED_ENTITIES, ("pred_text", "hypothesis", "text"), options)


def _entities(row: Row, names: Sequence[str], texts: Sequence[str], options: Options) -> list[Entity]:
    name = next((n for n in names if n in row.fields), None)
    if name is None:
        text = row.first(texts)
        if not isinstance(text, str):
            raise missing_field(row, (*names[:2], texts[0]), "entities")
        return [_checked(row, pair, options) for pair in parse_entities(text, symbols=options.symbols)]
    given = literal(row.fields[name], row.location, name)
    if given is None:
        return []
    if not isinstance(given, list | tuple):
        raise UserError(f"{row.location}: {row.id}: {name} is a {type(given).__name__}; give a list of entities")
    spans: list[tuple[str, int, int]] = []
    pairs: list[Entity] = []
    for entity in given:
        match entity:
            case [str(tag), str(phrase), *_]:
                pairs.append(_checked(row, (tag, " ".join(phrase.split())), options))
            case [str(tag), int(begin), int(length)]:
                spans.append((_checked(row, (tag, ""), options)[0], begin, length))
            case _:
                raise UserError(
                    f"{row.location}: {row.id}: {entity!r} is not an entity; give [TAG, phrase] or [TAG, start, length]"
                )
    if spans:
        text = row.first(TEXT_OF.get(name, TEXTS))
        if not isinstance(text, str):
            raise missing_field(row, TEXTS, "text for its spans")
        try:
            pairs += entities_of_tags(tag_words(text, spans))
        except UserError as error:
            raise UserError(f"{row.location}: {row.id}: {error}") from error
    return pairs


def _checked(row: Row, pair: Entity, options: Options) -> Entity:
    if options.tags == "any":
        if not pair[0].strip():
            raise UserError(f"{row.location}: {row.id}: an entity has an empty tag; give its tag")
        return pair
    try:
        combined_tag(pair[0])
    except UserError as error:
        raise UserError(f"{row.location}: {row.id}: {error}") from error
    return pair


def entities_shown(entities: Sequence[Entity]) -> str:
    """Human-readable entities."""
    return ", ".join(f"{tag}: {phrase}" for tag, phrase in entities) or "(none)"
