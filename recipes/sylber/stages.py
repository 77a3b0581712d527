"""Prepare and align: the work of stages 1 to 3; heavy libraries load when it runs."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import msgspec

from speechkit.asr.stages import AlignWords
from speechkit.data.records import Utterance
from speechkit.errors import AlignmentError, AudioError, ConfigError, UserError
from speechkit.pipeline import Context, Drop, Worker
from speechkit.pipeline.manifests import manifest_of
from speechkit.runtime import item_seed

from .manifests import Part, unique_rows


def prepare(context: Context) -> None:
    """Drop what cannot be learnt from, draw what is to be judged by, and normalise its texts.

    Raises:
        ConfigError: if a manifest is not given, or the test speakers are not some of several.
        UserError: if an id comes twice in a manifest, or nothing is left to learn from, to choose by or to judge by.
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
    """Rows of other speakers than those to be judged by, in a drawn order."""
    from speechkit.data.audio import why_unreadable
    from speechkit.data.manifest import audio_path

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
        # One such recording would end the training in the middle.
        elif config.check_audio and (reason := why_unreadable(audio_path(manifest, row), row)):
            part.drop(row, "unreadable_audio", reason)
        else:
            total += row.duration
            part.kept.append(row)
    if nameless := sum(not row.speaker for row in part.require()):
        context.say(
            f"{name}: {nameless} of {len(part.kept)} recordings name no speaker; see that none is of a test speaker"
        )
    return part.kept


def _truth(context: Context) -> tuple[list[Utterance], list[Utterance]]:
    """Utterances with words: those of the test speakers, and a draw of the others."""
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
    """The speakers to be judged by; others are left to choose the segmenters' settings by."""
    speakers = sorted({row.speaker for row in rows if row.speaker})
    if not speakers:
        raise UserError(f"{manifest}: names no speaker; give the utterances speakers, some to be judged by")
    named = {name.strip() for name in given.split(",") if name.strip()}
    if not named:
        raise ConfigError(
            f"prepare.test_speakers is not set; name some of the {len(speakers)} speakers of truth_manifest, for "
            f"example prepare.test_speakers={speakers[0]}"
        )
    if missing := named.difference(speakers):
        raise ConfigError(f"prepare.test_speakers: {sorted(missing)[0]!r} says nothing in truth_manifest")
    if all(row.speaker in named for row in rows):
        raise ConfigError(
            f"prepare.test_speakers names all {len(speakers)} speakers of truth_manifest; leave some of them to choose "
            "the segmenters' settings by"
        )
    return named


class AlignTruth(AlignWords):
    """Times of the words of the utterances to choose and to judge by."""

    def setup(self, device: str) -> None:
        """Load the recogniser."""
        manifest_of(self.inputs, "truth_manifest")
        super().setup(device)


class AlignSilver(Worker):
    """Phones and syllables between the words of an utterance."""

    def setup(self, device: str) -> None:
        """Load the aligner."""
        from speechkit.syllables.silver_alignment import PhoneAligner

        manifest_of(self.inputs, "truth_manifest")
        self.aligner = PhoneAligner(self.config.lang)

    def process(self, batch: list[Utterance]) -> list[Utterance | Drop]:
        """The rows with the tiers ``word``, ``phone`` and ``syllable``."""
        return [self._align(row) for row in batch]

    def _align(self, row: Utterance) -> Utterance | Drop:
        from speechkit.data.audio import read_waveform
        from speechkit.syllables.silver_alignment import align_silver

        try:
            waveform = read_waveform(row, self.inputs["truth_manifest"])
            # The recogniser of another language would say nothing about where words begin.
            heard = (row.alignment or {}).get("word") if self.config.lang == "en" else None
            silver = align_silver(self.aligner, waveform, (row.text or "").split(), heard)
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        except AlignmentError as error:
            return Drop("no_alignment", str(error))
        if silver.worst_seconds is not None and silver.worst_seconds > self.config.max_deviation:
            return Drop("disagreement", f"a word begins {silver.worst_seconds:.2f} s from where the CTC model heard it")
        custom = {
            **(row.custom or {}),
            "silver": {
                "rough_words": silver.rough_words,
                "deviation_seconds": silver.deviation_seconds,
                "worst_seconds": silver.worst_seconds,
            },
        }
        return msgspec.structs.replace(row, alignment=silver.tiers(), custom=custom)
