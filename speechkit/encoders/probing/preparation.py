"""The stage that selects training and test recordings of each probing task."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import msgspec

from speechkit.data.records import Utterance
from speechkit.encoders.probing.tasks import CHARACTERS, COMMANDS, DIGITS, PHONES, SPEAKERS, ProbeItem
from speechkit.errors import ConfigError, UserError
from speechkit.pipeline import SHARED, Context
from speechkit.runtime import item_seed

MANIFESTS = ("speech_manifest", "speakers_manifest", "commands_manifest")
MARKS = re.compile(r"(_[BIES])?\d*(_[BIES])?$")
"""Word position and stress at the end of a phone, as in ``IY0_E``."""
MIN_UTTERANCES = 5
"""Minimum number for each speaker in speaker identification."""


class ProbeDataConfig(msgspec.Struct, frozen=True):
    """Recordings of each task; tasks without a manifest are left out.

    Attributes:
        speech_manifest: read speech with texts and speakers, for characters and words.
        speakers_manifest: utterances of many speakers, for speaker identification; with phones in ``custom.phones``
            for phones too, and with texts for digits.
        commands_manifest: recordings with classes in ``custom``, for keywords, intents or digits.
        command_labels: comma-separated fields of ``custom``, with dots for nested fields; a recording without the
            field has the class "none".
        digit_words: utterances of ``speakers_manifest`` with only these words are cut into digits.
        test_speakers: comma-separated test speakers of ``speech_manifest``; empty draws a share.
        test_share: share of the speakers, or of each speaker's utterances, drawn for the test.
        folds: cross-validation folds of the commands.
        normalizer: text normalizer.
        max_train_seconds: maximum amount of speech to train the heads on.
        max_seconds: longer utterances are dropped.
        dev_utterances: training utterances on whose words the layer is selected.
    """

    speech_manifest: Annotated[str | None, SHARED] = None
    speakers_manifest: Annotated[str | None, SHARED] = None
    commands_manifest: Annotated[str | None, SHARED] = None
    command_labels: str = "intent"
    digit_words: str = "zero,oh,one,two,three,four,five,six,seven,eight,nine"
    test_speakers: str = ""
    test_share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2
    folds: Annotated[int, SHARED, msgspec.Meta(ge=2, le=20)] = 5
    normalizer: str = "simple"
    max_train_seconds: float = 3600.0
    max_seconds: float = 35.0
    dev_utterances: int = 200


def prepare(context: Context) -> None:
    """Select the training and test recordings of each task.

    Raises:
        ConfigError: if no manifest is given, or none of its recordings has the classes.
        UserError: if no recording is left.
    """
    config = context.config
    if all(getattr(config, name) is None for name in MANIFESTS):
        raise ConfigError(f"there are no recordings; give one or more of {', '.join(f'{m}=FILE' for m in MANIFESTS)}")
    audio: dict[str, Utterance] = {}
    items: list[ProbeItem] = []

    def rows_of(name: str) -> list[Utterance]:
        if getattr(config, name) is None:
            return []
        kept = []
        for row in context.read(name):
            row = msgspec.structs.replace(row, id=f"{name.removesuffix('_manifest')}/{row.id}")
            if row.duration > config.max_seconds:
                context.drop(row.id, "too_long", f"{row.duration:.1f} s")
            else:
                kept.append(row)
        return kept

    def use(row: Utterance, manifest: str) -> None:
        custom = {"manifest": manifest}
        audio.setdefault(row.id, msgspec.structs.replace(row, custom=custom, alignment=None, text=None))

    speech = _read_speech(context, rows_of("speech_manifest"))
    to_align: list[Utterance] = []
    if speech:
        train, test = _by_speaker(speech, config.test_speakers, config.test_share, context.seed)
        learned = _limited(context, train, config.max_train_seconds)
        for fold, part in ((1, learned), (0, test)):
            for row in part:
                use(row, "speech_manifest")
                items.append(ProbeItem(row.id, CHARACTERS, fold, list(row.text or ""), speaker=row.speaker))
        to_align = [
            msgspec.structs.replace(row, custom={"part": part, "manifest": "speech_manifest"})
            for part, rows in (("test", test), ("dev", learned[: config.dev_utterances]))
            for row in rows
        ]

    speakers = rows_of("speakers_manifest")
    if speakers:
        items += _speaker_items(context, speakers)
        items += _phone_items(context, speakers)
        known = {row.id: row for row in speakers}
        digits = list(_digit_rows(context, speakers))
        to_align += digits
        for name in (*(item.id for item in items), *(row.id for row in digits)):
            if name in known:
                use(known[name], "speakers_manifest")

    commands = sorted(rows_of("commands_manifest"), key=lambda row: item_seed(context.seed, row.id))
    fields = [field.strip() for field in config.command_labels.split(",") if field.strip()]
    for index, row in enumerate(commands):
        use(row, "commands_manifest")
        labels = {field: _label(row, field) for field in fields}
        items.append(ProbeItem(row.id, COMMANDS, index % config.folds, labels=labels, speaker=row.speaker))
    for field in fields if commands else ():
        if all(item.labels[field] == NO_LABEL for item in items if item.task == COMMANDS):
            raise ConfigError(
                f"prepare.command_labels: no recording of {config.commands_manifest} has custom.{field}; "
                "name existing fields"
            )
    if not audio:
        given = ", ".join(str(getattr(config, name)) for name in MANIFESTS if getattr(config, name) is not None)
        raise UserError(
            f"{given}: no usable recording; give some of at most {config.max_seconds:g} s, with texts and speakers, or "
            f"{MIN_UTTERANCES} of each speaker, or classes in custom"
        )
    context.write("audio.jsonl", audio.values())
    context.write("items.jsonl", items)
    context.write("speech.jsonl", to_align)


NO_LABEL = "none"


def _read_speech(context: Context, rows: Iterable[Utterance]) -> list[Utterance]:
    from speechkit.text import get_normalizer

    normalizer = get_normalizer(context.config.normalizer)
    kept = []
    for row in rows:
        text = " ".join(normalizer.normalize(row.text or "").text.split())
        if not text:
            context.drop(row.id, "no_text")
        elif not row.speaker:
            context.drop(row.id, "no_speaker")
        else:
            kept.append(msgspec.structs.replace(row, text=text))
    return kept


def _by_speaker(
    rows: Sequence[Utterance], named: str, share: float, seed: int
) -> tuple[list[Utterance], list[Utterance]]:
    """Training rows in random order, and those of the test speakers."""
    speakers = sorted({str(row.speaker) for row in rows}, key=lambda speaker: item_seed(seed, speaker))
    chosen = {name.strip() for name in named.split(",") if name.strip()}
    if chosen - set(speakers):
        raise ConfigError(
            f"prepare.test_speakers: {sorted(chosen - set(speakers))[0]!r} has no utterance in the manifest"
        )
    chosen = chosen or set(speakers[: math.ceil(share * len(speakers))])
    if chosen == set(speakers):
        raise UserError(f"all {len(speakers)} speakers are test speakers; leave some for training")
    train = [row for row in rows if row.speaker not in chosen]
    return sorted(train, key=lambda row: item_seed(seed, row.id)), [row for row in rows if row.speaker in chosen]


def _limited(context: Context, rows: Iterable[Utterance], seconds: float) -> list[Utterance]:
    kept: list[Utterance] = []
    total = 0.0
    for row in rows:
        if total + row.duration > seconds:
            context.drop(row.id, "beyond_limit", f"max_train_seconds is {seconds:g}")
            continue
        total += row.duration
        kept.append(row)
    return kept


def _speaker_items(context: Context, rows: Sequence[Utterance]) -> Iterator[ProbeItem]:
    """Items of speaker identification: a share of each speaker's utterances is the test, the rest training."""
    of_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for row in rows:
        if row.speaker:
            of_speaker[row.speaker].append(row)
        else:
            context.drop(row.id, "no_speaker")
    for speaker, mine in sorted(of_speaker.items()):
        if len(mine) < MIN_UTTERANCES:
            for row in mine:
                context.drop(row.id, "few_utterances", f"speaker {speaker} has {len(mine)}")
            continue
        mine.sort(key=lambda row: item_seed(context.seed, row.id))
        test = max(1, round(context.config.test_share * len(mine)))
        for index, row in enumerate(mine):
            yield ProbeItem(row.id, SPEAKERS, int(index >= test), labels={"speaker": speaker}, speaker=speaker)


def _digit_rows(context: Context, rows: Sequence[Utterance]) -> Iterator[Utterance]:
    """Utterances that contain only digits."""
    from speechkit.text import get_normalizer

    normalizer = get_normalizer(context.config.normalizer)
    known = {word.strip() for word in context.config.digit_words.split(",")}
    for row in rows:
        words = normalizer.normalize(row.text or "").text.split()
        if row.speaker and words and set(words) <= known:
            custom = {"part": DIGITS, "manifest": "speakers_manifest"}
            yield msgspec.structs.replace(row, text=" ".join(words), custom=custom)


def _phone_items(context: Context, rows: Sequence[Utterance]) -> Iterator[ProbeItem]:
    """Items of phone recognition with test speakers apart; none if the manifest has no phones."""
    symbols = {row.id: _phones(row) for row in rows if row.speaker}
    with_phones = [row for row in rows if symbols.get(row.id)]
    if not with_phones:
        return
    train, test = _by_speaker(with_phones, "", context.config.test_share, context.seed)
    for fold, part in ((1, _limited(context, train, context.config.max_train_seconds)), (0, test)):
        for row in part:
            yield ProbeItem(row.id, PHONES, fold, symbols[row.id], speaker=row.speaker)


def _phones(row: Utterance) -> list[str]:
    phones: list[str] = []
    for word in (row.custom or {}).get("phones") or []:
        phones += [MARKS.sub("", phone) for phone in (word if isinstance(word, list) else [word])]
    return [phone for phone in phones if phone]


def _label(row: Utterance, field: str) -> str:
    value: Any = row.custom or {}
    for name in field.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return NO_LABEL if value is None else " ".join(str(value).split()).casefold()
