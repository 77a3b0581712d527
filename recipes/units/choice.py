"""Which recordings teach and which judge, as both recipes of units choose them."""

from __future__ import annotations

from collections.abc import Iterator

from speechkit.data.records import Utterance
from speechkit.errors import ConfigError
from speechkit.pipeline import Context
from speechkit.runtime import item_seed


def choose(context: Context, *, draw_by_part: bool = False) -> tuple[list[Utterance], list[Utterance]]:
    """Training and test recordings of the manifests, with a reason for each that is left out.

    A speaker who judges teaches nothing. Training recordings are drawn up to ``max_train_seconds``.

    Args:
        context: of a stage that reads ``train_manifest`` and ``test_manifest`` and has the settings of both recipes.
        draw_by_part: the draw depends on ``train/ID`` rather than on the id alone.

    Raises:
        ConfigError: if a manifest is not named, or a speaker to judge by says nothing.
    """
    config = context.config
    for field in ("train_manifest", "test_manifest"):
        if getattr(config, field) is None:
            raise ConfigError(f"prepare.{field} is not set; give a manifest, for example {field}=FILE")
    asked = {name.strip() for name in config.test_speakers.split(",") if name.strip()}
    test = []
    for row in _fitting(context, "test"):
        if asked and row.speaker not in asked:
            context.drop(f"test/{row.id}", "not_asked_for", f"speaker {row.speaker}")
        else:
            test.append(row)
    if missing := asked - {row.speaker for row in test}:
        raise ConfigError(f"prepare.test_speakers: {sorted(missing)[0]!r} says nothing in {config.test_manifest}")
    heard = {row.speaker for row in test} - {None}
    prefix = "train/" if draw_by_part else ""
    train, total = [], 0.0
    for row in sorted(_fitting(context, "train"), key=lambda row: item_seed(context.seed, f"{prefix}{row.id}")):
        if row.speaker in heard:
            context.drop(f"train/{row.id}", "test_speaker", str(row.speaker))
        elif total + row.duration > config.max_train_seconds:
            context.drop(f"train/{row.id}", "beyond_limit", f"max_train_seconds is {config.max_train_seconds:g}")
        else:
            total += row.duration
            train.append(row)
    return train, test


def _fitting(context: Context, part: str) -> Iterator[Utterance]:
    for row in context.read(f"{part}_manifest"):
        if row.duration < context.config.min_seconds:
            context.drop(f"{part}/{row.id}", "too_short", f"{row.duration:.2f} s")
        elif row.duration > context.config.max_seconds:
            context.drop(f"{part}/{row.id}", "too_long", f"{row.duration:.1f} s")
        else:
            yield row
