"""The first stage of recipes that learn to speak: what is learnt from, what watches, and what judges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.pipeline import SHARED, Context, Output, Stage, external
from speechkit.runtime import item_seed
from speechkit.tts.stages import TextRow

MANIFESTS = ("train_manifest", "test_manifest")
AUDIO = tuple(external(name, schema=Utterance, of="prepare") for name in MANIFESTS)
"""Inputs of later stages: their audio is where the manifests of the first one say."""
PREPARE_DROPS = ("no_text", "too_short", "too_long", "unreadable_audio", "beyond_limit")


class SpokenCorpusConfig(msgspec.Struct, frozen=True):
    """Which utterances.

    Attributes:
        train_manifest: utterances with texts; those with a speaker can teach several voices.
        test_manifest: others, whose texts are spoken at the end.
        dev_share: of ``train_manifest``, drawn by their ids, to watch the training and to compare durations.
        min_seconds: of an utterance.
        max_seconds: of an utterance.
        train_items: most of ``train_manifest``; 0 for all.
        test_items: most of ``test_manifest``; 0 for all.
        texts: leave out what has no text.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    dev_share: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.03
    min_seconds: Annotated[float, msgspec.Meta(gt=0)] = 0.3
    max_seconds: Annotated[float, msgspec.Meta(gt=0)] = 20.0
    train_items: Annotated[int, msgspec.Meta(ge=0)] = 0
    test_items: Annotated[int, msgspec.Meta(ge=0)] = 0
    texts: bool = True


def prepare(context: Context) -> None:
    """Keep what can be learnt, each with its part in ``custom``; list the texts of the test."""
    config = context.config
    for name in MANIFESTS:
        if getattr(config, name) is None:
            raise ConfigError(f"{name} is not set; run with {name}=FILE.jsonl")
    kept = [*_kept(context, "train"), *_kept(context, "test")]
    for part in ("train", "test"):
        if not any((row.custom or {})["part"] == part for row in kept):
            raise UserError(f"{context.inputs[f'{part}_manifest']}: no utterance is left; drops.jsonl says why")
    context.write("cuts.jsonl", kept)
    tested = [row for row in kept if (row.custom or {})["part"] == "test"]
    context.write("texts.jsonl", (TextRow(id=row.id, text=row.text or "") for row in tested))


def _kept(context: Context, part: str) -> Iterator[Utterance]:
    from speechkit.data.audio import why_unreadable
    from speechkit.data.manifest import audio_path

    config, manifest = context.config, context.inputs[f"{part}_manifest"]
    limit, count = getattr(config, f"{part}_items"), 0
    for row in context.read(f"{part}_manifest"):
        if limit and count == limit:
            context.drop(row.id, "beyond_limit")
        elif config.texts and not (row.text or "").strip():
            context.drop(row.id, "no_text")
        elif row.duration < config.min_seconds:
            context.drop(row.id, "too_short", f"{row.duration:.2f} s")
        elif row.duration > config.max_seconds:
            context.drop(row.id, "too_long", f"{row.duration:.2f} s")
        elif reason := why_unreadable(audio_path(manifest, row), row):
            context.drop(row.id, "unreadable_audio", reason)
        else:
            count += 1
            watches = part == "train" and item_seed(0, row.id) % 10_000 < 10_000 * config.dev_share
            yield msgspec.structs.replace(row, custom={"part": "dev" if watches else part})


def prepare_stage() -> Stage:
    """Stage 1, ``prepare``."""
    return Stage(
        number=1,
        name="prepare",
        run=prepare,
        inputs=tuple(external(name, schema=Utterance) for name in MANIFESTS),
        outputs=(Output("cuts.jsonl", schema=Utterance), Output("texts.jsonl", schema=TextRow)),
        config=SpokenCorpusConfig,
        drop_reasons=PREPARE_DROPS,
    )
