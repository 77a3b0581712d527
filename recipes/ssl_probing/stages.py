"""The work of stages 1 and 2; heavy libraries load when they run."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from speechkit.data.records import AlignmentItem, Utterance
from speechkit.encoders.probing.tasks import ProbeItem
from speechkit.errors import AlignmentError, AudioError, ConfigError, UserError
from speechkit.pipeline import Context, Drop, Worker
from speechkit.pipeline.manifests import manifest_of
from speechkit.runtime import item_seed

MANIFESTS = ("speech_manifest", "speakers_manifest", "commands_manifest")
CHARACTERS, PHONES, SPEAKERS, COMMANDS, DIGITS = "characters", "phones", "speakers", "commands", "digits"
MARKS = re.compile(r"(_[BIES])?\d*(_[BIES])?$")
"""Place in the word and stress at the end of a phone, as ``IY0_E``."""
MIN_UTTERANCES = 5
"""Of a speaker who is to be identified."""
MAX_UNKNOWN = 0.5
"""Share of a text's characters that the recogniser may be unable to spell."""


def prepare(context: Context) -> None:
    """Choose the recordings of each task, and what trains and what judges.

    Raises:
        ConfigError: if no manifest is given, or none of its recordings has the classes.
        UserError: if no recording is left.
    """
    config = context.config
    if all(getattr(config, name) is None for name in MANIFESTS):
        raise ConfigError(
            f"no recordings to probe with; give one or more of {', '.join(f'{m}=FILE' for m in MANIFESTS)}"
        )
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
        heard = _limited(context, train, config.max_train_seconds)
        for fold, part in ((1, heard), (0, test)):
            for row in part:
                use(row, "speech_manifest")
                items.append(ProbeItem(row.id, CHARACTERS, fold, list(row.text or ""), speaker=row.speaker))
        to_align = [
            msgspec.structs.replace(row, custom={"part": part, "manifest": "speech_manifest"})
            for part, rows in (("test", test), ("dev", heard[: config.dev_utterances]))
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
    for place, row in enumerate(commands):
        use(row, "commands_manifest")
        labels = {field: _label(row, field) for field in fields}
        items.append(ProbeItem(row.id, COMMANDS, place % config.folds, labels=labels, speaker=row.speaker))
    for field in fields if commands else ():
        if all(item.labels[field] == NO_LABEL for item in items if item.task == COMMANDS):
            raise ConfigError(
                f"prepare.command_labels: no recording of {config.commands_manifest} has custom.{field}; "
                "name fields that are there"
            )
    if not audio:
        given = ", ".join(str(getattr(config, name)) for name in MANIFESTS if getattr(config, name) is not None)
        raise UserError(
            f"{given}: no recording is fit to probe with; give some of at most {config.max_seconds:g} s, with texts "
            f"and speakers, or {MIN_UTTERANCES} of each speaker, or classes in custom"
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
    """Rows to learn from in a drawn order, and those of the test speakers."""
    speakers = sorted({str(row.speaker) for row in rows}, key=lambda speaker: item_seed(seed, speaker))
    chosen = {name.strip() for name in named.split(",") if name.strip()}
    if chosen - set(speakers):
        raise ConfigError(f"prepare.test_speakers: {sorted(chosen - set(speakers))[0]!r} says nothing in the manifest")
    chosen = chosen or set(speakers[: math.ceil(share * len(speakers))])
    if chosen == set(speakers):
        raise UserError(f"all {len(speakers)} speakers are test speakers; leave some to learn from")
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
    """A share of every speaker's utterances judges; the rest trains."""
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
        judged = max(1, round(context.config.test_share * len(mine)))
        for place, row in enumerate(mine):
            yield ProbeItem(row.id, SPEAKERS, int(place >= judged), labels={"speaker": speaker}, speaker=speaker)


def _digit_rows(context: Context, rows: Sequence[Utterance]) -> Iterator[Utterance]:
    """Utterances that say nothing but digits."""
    from speechkit.text import get_normalizer

    normalizer = get_normalizer(context.config.normalizer)
    known = {word.strip() for word in context.config.digit_words.split(",")}
    for row in rows:
        words = normalizer.normalize(row.text or "").text.split()
        if row.speaker and words and set(words) <= known:
            custom = {"part": DIGITS, "manifest": "speakers_manifest"}
            yield msgspec.structs.replace(row, text=" ".join(words), custom=custom)


def _phone_items(context: Context, rows: Sequence[Utterance]) -> Iterator[ProbeItem]:
    """Canonical phones of unseen speakers; nothing where the manifest has none."""
    symbols = {row.id: _phones(row) for row in rows if row.speaker}
    with_phones = [row for row in rows if symbols.get(row.id)]
    if not with_phones:
        return
    train, test = _by_speaker(with_phones, "", context.config.test_share, context.seed)
    for fold, part in ((1, _limited(context, train, context.config.max_train_seconds)), (0, test)):
        for row in part:
            yield ProbeItem(row.id, PHONES, fold, symbols[row.id], speaker=row.speaker)


def _phones(row: Utterance) -> list[str]:
    found: list[str] = []
    for word in (row.custom or {}).get("phones") or []:
        found += [MARKS.sub("", phone) for phone in (word if isinstance(word, list) else [word])]
    return [phone for phone in found if phone]


def _label(row: Utterance, field: str) -> str:
    value: Any = row.custom or {}
    for name in field.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return NO_LABEL if value is None else " ".join(str(value).split()).casefold()


class AlignWords(Worker):
    """Times of the words of an utterance whose text is known, by CTC alignment of what it says on its channel."""

    def setup(self, device: str) -> None:
        """Load the recogniser.

        Raises:
            UserError: if it is no CTC model, or a manifest was not given to this stage.
        """
        from speechkit.asr import load_recognizer
        from speechkit.data.manifest import read_manifest
        from speechkit.text import get_normalizer

        if speech := self.inputs.get("speech"):
            needed = {(row.custom or {})["manifest"] for row in read_manifest(speech) if not _has_words(row)}
            for name in sorted(needed):
                manifest_of(self.inputs, name)
        self.normalizer = get_normalizer(self.config.normalizer)
        self.recognizer: Any = load_recognizer(self.config.recognizer, self.config.lang, device)
        if not hasattr(self.recognizer, "emissions_of"):
            raise UserError(f"words.recognizer={self.config.recognizer}: gives no emissions; choose a CTC model")

    def process(self, batch: list[Utterance]) -> list[Utterance | Drop]:
        """The rows with a tier ``word``."""
        return [self._align(row) for row in batch]

    def _align(self, row: Utterance) -> Utterance | Drop:
        import numpy as np

        from speechkit.asr.refinement import WILDCARD, refine, word_frames
        from speechkit.data.audio import read_waveform
        from speechkit.mining.placement import columns_of

        if _has_words(row):
            return row
        try:
            waveform = read_waveform(row, manifest_of(self.inputs, (row.custom or {})["manifest"]))
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        emissions = self.recognizer.emissions_of(waveform)
        words = (row.text or "").split()
        column = columns_of(emissions)
        # A word separator stands before each word, where the model has one.
        spelled = [
            (column.get(" ", None), -1) if c is None else (column.get(c, WILDCARD), n) for c, n in _spelling(words)
        ]
        tokens = [(token, owner) for token, owner in spelled if token is not None]
        written = [token for token, owner in tokens if owner >= 0]
        unknown = written.count(WILDCARD) / max(1, len(written))
        if unknown > MAX_UNKNOWN:  # wildcards lie anywhere
            return Drop("no_alignment", f"the recogniser cannot spell {unknown:.0%} of the characters")
        try:
            refined = refine(emissions.log_probs, np.array([token for token, _ in tokens]), emissions.blank)
        except AlignmentError as error:
            return Drop("no_alignment", str(error))
        hop = emissions.hop_seconds
        tier = [
            AlignmentItem(words[n], round(a * hop, 4), round((b - a) * hop, 4), round(score, 4))
            for n, a, b, score in word_frames(refined, [owner for _, owner in tokens])
        ]
        return msgspec.structs.replace(row, alignment={**(row.alignment or {}), "word": tier})


def _has_words(row: Utterance) -> bool:
    return bool((row.alignment or {}).get("word"))


def _spelling(words: Sequence[str]) -> Iterator[tuple[str | None, int]]:
    """Characters with the number of their word; None between words."""
    for number, word in enumerate(words):
        if number:
            yield None, -1
        for character in word:
            yield character, number
