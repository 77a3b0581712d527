"""The first stage of the recipes that learn units: training and test recordings."""

from __future__ import annotations

from typing import Annotated

import msgspec

from speechkit.data.held_out import hold_out
from speechkit.data.manifest import unique_ids
from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.pipeline import SHARED, Context
from speechkit.runtime import item_seed

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Layers = Annotated[tuple[Count, ...], SHARED, msgspec.Meta(min_length=1)]
Clusters = Annotated[tuple[Positive, ...], SHARED, msgspec.Meta(min_length=1)]
DROP_REASONS = ("too_short", "too_long", "test_speaker", "test_audio", "not_asked_for", "beyond_limit")


class HeldOutConfig(msgspec.Struct, frozen=True):
    """Which recordings teach and which judge.

    Attributes:
        train_manifest: recordings; nothing is needed but the sound.
        test_manifest: recordings of other speakers; it may be the same file when ``test_speakers`` are named.
        test_speakers: with commas between them, to judge by only these of ``test_manifest``; all when empty.
        max_train_seconds: most speech to learn from, drawn.
        min_seconds: shorter recordings are dropped.
        max_seconds: longer ones too.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    test_speakers: str = ""
    max_train_seconds: float = 36_000.0
    min_seconds: float = 0.5
    max_seconds: float = 35.0


def held_out(context: Context, *, draw_by_part: bool = False) -> tuple[list[Utterance], list[Utterance]]:
    """Training and test recordings of the manifests of a `HeldOutConfig`, with a drop for each that is left out.

    Args:
        context: of the stage.
        draw_by_part: the draw depends on ``train/ID`` rather than on the id alone.

    Raises:
        ConfigError: if a manifest is not named, or a speaker to judge by says nothing.
        UserError: if an id comes twice in a manifest, or a part has no recording.
    """
    config = context.config
    for field in ("train_manifest", "test_manifest"):
        if getattr(config, field) is None:
            raise ConfigError(f"{field} is not set; run with {field}=FILE.jsonl")
    speakers = frozenset(name.strip() for name in config.test_speakers.split(",") if name.strip())
    prefix = "train/" if draw_by_part else ""
    train, test, left_out = hold_out(
        unique_ids(context.read("train_manifest"), config.train_manifest),
        unique_ids(context.read("test_manifest"), config.test_manifest),
        context.inputs["train_manifest"],
        context.inputs["test_manifest"],
        lambda row: item_seed(context.seed, f"{prefix}{row.id}"),
        speakers=speakers,
        min_seconds=config.min_seconds,
        max_seconds=config.max_seconds,
        max_train_seconds=config.max_train_seconds,
    )
    for part, row, reason, detail in left_out:
        context.drop(f"{part}/{row.id}", reason, detail)
    if missing := speakers - {row.speaker for row in test}:
        raise ConfigError(f"prepare.test_speakers: {sorted(missing)[0]!r} says nothing in {config.test_manifest}")
    unnamed, silent = (sum(not row.speaker for row in rows) for rows in (train, test))
    if unnamed or silent:
        context.say(
            f"{unnamed} of {len(train)} training and {silent} of {len(test)} test recordings name no speaker; of "
            "these only pieces of the same audio are kept apart"
        )
    if not train or not test:
        raise UserError(
            f"{len(train)} training and {len(test)} test recordings are left; give at least one of each: other audio "
            "for each, and test_speakers if both manifests have the same speakers"
        )
    return train, test
