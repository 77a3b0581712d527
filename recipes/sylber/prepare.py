"""Stage 1: recordings for training, validation, tuning and testing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from pathlib import Path
from typing import Annotated

import msgspec

from speechkit.data.manifest import audio_path, unique_ids
from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.pipeline import SHARED, Context
from speechkit.runtime import item_seed

Above = Annotated[float, msgspec.Meta(gt=0)]
REMEDIES = {
    "too_short": "lower prepare.min_seconds or give longer ones",
    "too_long": "raise prepare.max_seconds or give shorter ones",
    "no_text": "give them texts",
    "beyond_limit": "raise prepare.max_train_seconds",
    "unreadable_audio": "fix the files or their paths",
    "test_speaker": "give recordings of other speakers",
    "no_alignment": "correct the texts, or give longer utterances",
    "disagreement": "correct the texts, or raise silver.max_deviation",
}
"""Remedies for the drops of stages 1 to 3, by reason."""


class SyllableDataConfig(msgspec.Struct, frozen=True):
    """The recordings of training and evaluation.

    Attributes:
        train_manifest: speech; no text is needed.
        dev_manifest: speech, for the validation loss only.
        truth_manifest: speech with texts and speakers, which are aligned for evaluation.
        test_speakers: some speakers of ``truth_manifest`` for testing, separated by commas; the others are used to tune
            the segmenters' settings. Recordings of test speakers are not used in training.
        tune_utterances: number of utterances of the other speakers, drawn at random.
        normalizer: of the texts.
        min_seconds: shorter recordings are dropped; at least one frame, 20 ms.
        max_train_seconds: limit of the training speech; recordings are drawn at random.
        max_seconds: longer utterances are not aligned.
        check_audio: decode every training recording first, and drop unreadable ones; otherwise training stops at them.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    dev_manifest: Annotated[str | None, SHARED] = None
    truth_manifest: Annotated[str | None, SHARED] = None
    test_speakers: str = ""
    tune_utterances: Annotated[int, msgspec.Meta(ge=1)] = 100
    normalizer: Annotated[str, SHARED] = "simple"
    min_seconds: Annotated[float, msgspec.Meta(ge=0.02)] = 1.0
    max_train_seconds: Above = 1e9
    max_seconds: Above = 36.0
    check_audio: bool = True


def prepare(context: Context) -> None:
    """Filter the training recordings, draw tuning and test utterances, and normalise their texts.

    Raises:
        ConfigError: if a manifest is not given, or the test speakers are absent or all of the speakers.
        UserError: if a manifest has a duplicate id, or no recording is left for training, tuning or testing.
    """
    config = context.config
    for field in ("train_manifest", "dev_manifest", "truth_manifest"):
        if getattr(config, field) is None:
            raise ConfigError(f"{field} is not set; run with {field}=FILE.jsonl")
    test, tune = _truth(context)
    held_out = {row.speaker for row in test}
    rows = {name: unique_rows(context, name) for name in ("train_manifest", "dev_manifest")}
    train = _kept(context, rows["train_manifest"], "train_manifest", held_out, config.max_train_seconds)
    context.write("train.jsonl", train)
    context.write("dev.jsonl", _kept(context, rows["dev_manifest"], "dev_manifest", held_out, float("inf")))
    context.write("truth.jsonl", [*test, *tune])


def _kept(
    context: Context, rows: list[Utterance], name: str, held_out: Set[str | None], most_seconds: float
) -> list[Utterance]:
    """Usable rows of other speakers than the test speakers, in random order."""
    from speechkit.data.audio import why_unreadable

    config, manifest = context.config, context.inputs[name]
    part = Part(context, f"recordings of {name}", manifest)
    total = 0.0
    for row in sorted(rows, key=lambda row: item_seed(context.seed, row.id)):
        if row.speaker in held_out:
            part.drop(row, "test_speaker", f"{row.speaker} is one of prepare.test_speakers")
        elif row.duration < config.min_seconds:
            part.drop(row, "too_short", f"{row.duration:.2f} s")
        elif total + row.duration > most_seconds:
            part.drop(row, "beyond_limit", f"max_train_seconds is {most_seconds:g}")
        # A single unreadable recording would stop training.
        elif config.check_audio and (reason := why_unreadable(audio_path(manifest, row), row)):
            part.drop(row, "unreadable_audio", reason)
        else:
            total += row.duration
            part.kept.append(row)
    if nameless := sum(not row.speaker for row in part.require()):
        context.say(
            f"{name}: {nameless} of {len(part.kept)} recordings have no speaker; make sure that "
            "none is of a test speaker"
        )
    return part.kept


def _truth(context: Context) -> tuple[list[Utterance], list[Utterance]]:
    """Utterances with words: those of the test speakers, and a random sample of the others."""
    from speechkit.text import get_normalizer

    config, manifest = context.config, context.inputs["truth_manifest"]
    normalizer = get_normalizer(config.normalizer)
    rows = unique_rows(context, "truth_manifest")
    named = _test_speakers(config.test_speakers, rows, manifest)
    test = Part(context, "utterances of the test speakers", manifest)
    tune = Part(context, "utterances of the other speakers", manifest)
    for row in rows:
        part, name = (test, "test") if row.speaker in named else (tune, "tune")
        text = " ".join(normalizer.normalize(row.text or "").text.split())
        if not text:
            part.drop(row, "no_text")
        elif row.duration > config.max_seconds:
            part.drop(row, "too_long", f"{row.duration:.1f} s")
        else:
            custom = {"part": name, "manifest": "truth_manifest"}
            part.kept.append(msgspec.structs.replace(row, text=text, custom=custom))
    if silent := named - {row.speaker for row in test.require()}:
        raise ConfigError(
            f"prepare.test_speakers: no utterance of {sorted(silent)[0]!r} has a text and at most "
            f"{config.max_seconds:g} s; leave the speaker out"
        )
    drawn = sorted(tune.require(), key=lambda row: item_seed(context.seed, row.id))
    for row in drawn[config.tune_utterances :]:
        context.drop(row.id, "beyond_limit", f"tune_utterances is {config.tune_utterances}")
    return test.kept, drawn[: config.tune_utterances]


def _test_speakers(given: str, rows: list[Utterance], manifest: Path) -> set[str]:
    """The test speakers; the other speakers are left for tuning the segmenters."""
    speakers = sorted({row.speaker for row in rows if row.speaker})
    if not speakers:
        raise UserError(f"{manifest}: has no speakers; give every utterance a speaker, some of them for testing")
    named = {name.strip() for name in given.split(",") if name.strip()}
    if not named:
        raise ConfigError(
            f"prepare.test_speakers is not set; name some of the {len(speakers)} speakers of truth_manifest, for "
            f"example prepare.test_speakers={speakers[0]}"
        )
    if missing := named.difference(speakers):
        raise ConfigError(
            f"prepare.test_speakers: {sorted(missing)[0]!r} is not a speaker of truth_manifest; name "
            "speakers that it has"
        )
    if all(row.speaker in named for row in rows):
        raise ConfigError(
            f"prepare.test_speakers names all {len(speakers)} speakers of truth_manifest; leave some of them for "
            "tuning the segmenters' settings"
        )
    return named


def unique_rows(context: Context, name: str) -> list[Utterance]:
    """The rows of a manifest with unique ids, by which later stages look them up.

    Raises:
        UserError: if it is empty, or an id is duplicate.
    """
    rows = list(unique_ids(context.read(name), context.inputs[name]))
    if not rows:
        raise UserError(f"{context.inputs[name]}: holds no recording; give some")
    return rows


def most_dropped(reasons: Counter[str]) -> str:
    """The most frequent reason of some drops, and its remedy."""
    if not reasons:
        return "none was dropped"
    reason, count = reasons.most_common(1)[0]
    return f"{count} dropped as {reason}: {REMEDIES[reason]}"


class Part:
    """The usable recordings of one part, and the reasons of the dropped ones.

    Args:
        context: of the stage, which records every drop.
        items: the recordings in words, for error messages, such as "utterances of the test speakers".
        manifest: their manifest.
    """

    def __init__(self, context: Context, items: str, manifest: Path) -> None:
        self.kept: list[Utterance] = []
        self._context, self._items, self._manifest = context, items, manifest
        self._reasons: Counter[str] = Counter()

    def drop(self, row: Utterance, reason: str, detail: str = "") -> None:
        """Record a dropped row."""
        self._reasons[reason] += 1
        self._context.drop(row.id, reason, detail)

    def require(self) -> list[Utterance]:
        """The usable rows.

        Raises:
            UserError: if there is none.
        """
        if not self.kept:
            raise UserError(
                f"{self._manifest}: none of {self._reasons.total()} {self._items} is left, "
                f"{most_dropped(self._reasons)}"
            )
        return self.kept
