"""Stage 1: which recordings teach, which are looked at meanwhile, and which are judged by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from speechkit.data.held_out import hold_out
from speechkit.data.manifest import audio_path, unique_ids
from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.pipeline import SHARED, Context
from speechkit.runtime import item_seed

DROP_REASONS = (
    *("too_short", "too_long", "not_asked_for", "test_speaker", "test_audio", "beyond_limit", "same_id"),
    "unreadable_audio",
)


class VocoderDataConfig(msgspec.Struct, frozen=True):
    """Which recordings.

    Attributes:
        train_manifest: speech to learn from; no text is needed, speakers are used where they are named.
        extra_manifest: more of it, as of the voices that the vocoder is to speak for.
        test_manifest: speech of others, to be judged by; with texts, where the recogniser is to judge.
        test_utterances: drawn.
        dev_utterances: of the training speech, held out to see how training goes.
        min_seconds: shorter ones are left out; at least the crops of stages 3 and 4.
        max_seconds: longer ones are not judged by.
        max_train_seconds: most speech to learn from, drawn.
        check_audio: read every recording to learn from once, to drop what cannot be read; without it, training stops
            there.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    extra_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    test_utterances: Annotated[int, msgspec.Meta(ge=1)] = 100
    dev_utterances: Annotated[int, msgspec.Meta(ge=1)] = 32
    min_seconds: Annotated[float, msgspec.Meta(ge=0.2)] = 1.0
    max_seconds: Annotated[float, msgspec.Meta(gt=0)] = 20.0
    max_train_seconds: Annotated[float, msgspec.Meta(gt=0)] = 1e9
    check_audio: bool = True


def prepare(context: Context) -> None:
    """Write the three parts; no test speaker and no test audio is in the other two.

    Raises:
        ConfigError: if a manifest is not given.
        UserError: if nothing is left to learn from or to judge by.
    """
    config = context.config
    for field in ("train_manifest", "test_manifest"):
        if getattr(config, field) is None:
            raise ConfigError(f"{field} is not set; run with {field}=FILE.jsonl")
    learned: list[Utterance] = []
    judges: list[Utterance] = []
    for name in ("train_manifest", "extra_manifest"):
        if name not in context.inputs:
            continue
        split = hold_out(
            _named(context, name),
            _named(context, "test_manifest"),
            context.inputs[name],
            context.inputs["test_manifest"],
            lambda row: item_seed(context.seed, row.id),
            min_seconds=config.min_seconds,
            max_train_seconds=config.max_train_seconds,
        )
        learned += split.train
        judges = [row for row in split.test if row.duration <= config.max_seconds]
        for left in split.left_out:
            if left.part == "train":
                context.drop(left.row.id, left.reason, left.detail)
    judges.sort(key=lambda row: item_seed(context.seed, row.id))
    for row in judges[config.test_utterances :]:
        context.drop(row.id, "beyond_limit", f"test_utterances is {config.test_utterances}")
    learned = list(_readable(context, learned))
    if len(learned) <= config.dev_utterances or not judges:
        raise UserError(
            f"{len(learned)} recordings are left to learn from, {config.dev_utterances} of them to look at, and "
            f"{len(judges)} to judge by; give longer ones, or lower prepare.min_seconds"
        )
    context.write("dev.jsonl", learned[: config.dev_utterances])
    context.write("train.jsonl", learned[config.dev_utterances :])
    context.write("test.jsonl", judges[: config.test_utterances])


def _named(context: Context, name: str) -> Iterator[Utterance]:
    """Rows that say which manifest they are of."""
    for row in unique_ids(context.read(name), context.inputs[name]):
        yield msgspec.structs.replace(row, custom={"manifest": name})


def _readable(context: Context, rows: list[Utterance]) -> Iterator[Utterance]:
    """Rows of all manifests in a drawn order, each id once."""
    from speechkit.data.audio import why_unreadable

    seen: set[str] = set()
    for row in sorted(rows, key=lambda row: item_seed(context.seed, row.id)):
        manifest = context.inputs[(row.custom or {})["manifest"]]
        if row.id in seen:
            context.drop(row.id, "same_id", f"stands in another manifest than {manifest}, too")
        elif context.config.check_audio and (reason := why_unreadable(audio_path(manifest, row), row)):
            context.drop(row.id, "unreadable_audio", reason)
        else:
            seen.add(row.id)
            yield row
