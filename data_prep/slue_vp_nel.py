"""SLUE-VP-NEL: named entity localisation on SLUE-VoxPopuli's dev and test sets.

Layout as released: ``slue-vp_nel_{dev,test}.tsv`` (``_blind`` without labels) with the columns id, text (or
normalized_text) and ne_timestamps (a list of ``[label, start character, length, start second, end second]``), word
times ``word_timestamps/<split>/<id>.tsv`` (word, start_sec, end_sec), and the audio ``audio/<split>/<id>.ogg``; or tars
of it; or the Parquet files of asapp/slue-phase-2, config vp_nel, with all of it in columns. ``custom.words`` has
``[word, start, end]`` with ``#`` before the part inside an entity, as scoring expects, ``custom.entity_spans`` has
``[label, phrase, start, end]``.

Licence: CC0. Homepage: https://github.com/asappresearch/slue-toolkit
Citation: Shon et al. 2023, SLUE Phase-2: a benchmark suite of diverse spoken language understanding tasks.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from .corpus import Clip, Item, LeftOut
from .slue_source import Reading, Row, Split, slue_corpus, spans, tolerant
from .tables import read_lines

ENTITY = ("ne_label", "start_char_idx", "char_offset", "start_sec", "end_sec")
WORD = ("word", "start_sec", "end_sec")
TOUCH = 1e-3  # seconds; times are rounded


def clip(reading: Reading, row: Row) -> Item:
    """Utterance with time-aligned words and entities."""
    identifier = row.text("id") or ""
    custom = tolerant(partial(_custom, reading.split, identifier), row, identifier)
    if isinstance(custom, LeftOut):
        return custom
    if "entity_spans" not in custom:
        reading.request.notes["utterances without labels (withheld)"] += 1
    return Clip(
        identifier,
        reading.audio(row, identifier),
        row.text("text", "normalized_text") or "",
        speaker=row.text("speaker_id"),
        lang="en",
        custom=custom or None,
    )


def _custom(split: Split, identifier: str, row: Row) -> dict[str, Any]:
    text = str(row.fields.get("text") or row.fields.get("normalized_text") or "")
    words = _words(split, row, identifier)
    custom: dict[str, Any] = {}
    entities: list[list[Any]] = []
    if "ne_timestamps" in row.fields:
        for label, first, length, begin, end in spans(row, "ne_timestamps", ENTITY) or []:
            first, length, begin, end = int(first), int(length), float(begin), float(end)
            if not 0 <= begin < end or first < 0 or length < 1 or first + length > len(text):
                raise ValueError(f"entity {label} at character {first}, {begin} s to {end} s, cannot be")
            entities.append([str(label), text[first : first + length], begin, end])
        custom["entity_spans"] = entities
    if words:
        custom["words"] = [
            ["#" + word if _inside(begin, end, entities) else word, begin, end] for word, begin, end in words
        ]
    return custom


def _inside(begin: float, end: float, entities: list[list[Any]]) -> bool:
    return any(first - TOUCH <= begin and end <= last + TOUCH for _, _, first, last in entities)


def _words(split: Split, row: Row, identifier: str) -> list[tuple[str, float, float]]:
    if "word_timestamps" in row.fields:
        return [(str(w), float(b), float(e)) for w, b, e in spans(row, "word_timestamps", WORD) or []]
    for folder in (split.home / "word_timestamps" / split.name, split.home / "word_timestamps"):
        path = folder / f"{Path(identifier).name}.tsv"
        if path.is_file():
            cells = [line.split("\t") for _, line in read_lines(path)]
            return [(c[0], float(c[1]), float(c[2])) for c in cells if len(c) == 3 and c[1] != "start_sec"]
    return []


CORPUS = slue_corpus(
    clip,
    name="slue_vp_nel",
    title="SLUE-VP-NEL",
    licence="CC0",
    year=2023,
    tables=("slue-vp_nel", "slue-voxpopuli-nel", "slue-vp-nel"),
    configs=("vp_nel",),
    columns=("id",),
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
