"""SLUE-VoxPopuli: European Parliament speeches with named entities, 25 hours.

Layout as released: ``slue-voxpopuli_{fine-tune,dev,test}.tsv`` (``_test_blind`` without labels) with the columns id,
raw_text, normalized_text, speaker_id, split, raw_ner, normalized_ner, and the audio ``<split>/<id>.ogg``; or tars of
it; or the Parquet files of asapp/slue, config voxpopuli. Entities are ``[TAG, start character, length]`` in the
normalised text, which is the manifest text; they are in ``custom.ner``, absent if the release withholds them.

Licence: CC0. Homepage: https://github.com/asappresearch/slue-toolkit
Citation: Shon et al. 2022, SLUE: new benchmark tasks for spoken language understanding evaluation on natural speech.
"""

from __future__ import annotations

from typing import Any

from speechkit.slue.metrics.entity_tags import combined_tag
from speechkit.slue.metrics.entity_text import check_spans

from .corpus import Clip, Item, LeftOut
from .slue_source import Reading, Row, slue_corpus, spans, tolerant

ENTITY = ("type", "start", "length")


def clip(reading: Reading, row: Row) -> Item:
    """Utterance with its named entities."""
    identifier = row.text("id") or ""
    custom = tolerant(_custom, row, identifier)
    if isinstance(custom, LeftOut):
        return custom
    if "ner" not in custom:
        reading.request.notes["utterances without labels (withheld)"] += 1
    return Clip(
        identifier,
        reading.audio(row, identifier),
        row.text("normalized_text") or "",
        speaker=row.text("speaker_id"),
        lang="en",
        custom=custom or None,
    )


def _custom(row: Row) -> dict[str, Any]:
    custom: dict[str, Any] = {}
    for name, text in (("raw_ner", "raw_text"), ("normalized_ner", "normalized_text")):
        if name not in row.fields:
            continue
        # Offsets refer to the raw cell, so double spaces are kept.
        entities = [(str(t), int(b), int(n)) for t, b, n in spans(row, name, ENTITY) or []]
        for tag, _, _ in entities:
            combined_tag(tag)
        check_spans(str(row.fields.get(text) or ""), entities)
        custom["ner" if name == "normalized_ner" else name] = [list(entity) for entity in entities]
    for name in ("raw_text", "normalized_text"):
        if row.fields.get(name):
            custom[name] = str(row.fields[name])
    return custom


CORPUS = slue_corpus(
    clip,
    name="slue_voxpopuli",
    title="SLUE-VoxPopuli",
    licence="CC0",
    year=2022,
    tables=("slue-voxpopuli",),
    configs=("voxpopuli",),
    columns=("id", "normalized_text"),
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
