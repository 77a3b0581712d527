"""First stage of recipes that train speech synthesis: the training, development and test utterances."""

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
"""Inputs of later stages, which read audio relative to the manifests of this one."""
PREPARE_DROPS = ("no_text", "too_short", "too_long", "unreadable_audio", "beyond_limit")


class SpokenCorpusConfig(msgspec.Struct, frozen=True):
    """Selection of utterances.

    Attributes:
        train_manifest: utterances with texts, and with speakers if several voices are to be learnt.
        test_manifest: other utterances, whose texts are synthesised at the end.
        dev_share: share of ``train_manifest`` that is held out, drawn by id, for validation.
        min_seconds: shortest utterance.
        max_seconds: longest utterance.
        train_items: upper limit of utterances from ``train_manifest``; 0 for all.
        test_items: upper limit of utterances from ``test_manifest``; 0 for all.
        texts: drop utterances without text.
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
    """Select usable utterances, with their part in ``custom``, and list the texts of the test set."""
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
            held_out = part == "train" and item_seed(0, row.id) % 10_000 < 10_000 * config.dev_share
            yield msgspec.structs.replace(row, custom={"part": "dev" if held_out else part})


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
