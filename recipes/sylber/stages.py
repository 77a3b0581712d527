"""Prepare and align: the work of stages 1 and 3; heavy libraries load when it runs."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import AlignmentError, AudioError, ConfigError
from speechkit.pipeline import Context, Drop, Worker
from speechkit.runtime import item_seed


def prepare(context: Context) -> None:
    """Drop what cannot be learnt from, draw what is to be judged by, and normalise its texts."""
    from speechkit.data.audio import why_unreadable
    from speechkit.data.manifest import audio_path

    config = context.config
    for field in ("train_manifest", "dev_manifest", "truth_manifest"):
        if getattr(config, field) is None:
            raise ConfigError(f"{field} is not set; run with {field}=FILE.jsonl")

    def kept(name: str, most_seconds: float) -> Iterator[Utterance]:
        total = 0.0
        for row in sorted(context.read(name), key=lambda row: item_seed(context.seed, row.id)):
            if row.duration < config.min_seconds:
                context.drop(row.id, "too_short", f"{row.duration:.2f} s")
            elif total + row.duration > most_seconds:
                context.drop(row.id, "beyond_limit", f"max_train_seconds is {most_seconds:g}")
            # One such recording would end the training in the middle.
            elif config.check_audio and (reason := why_unreadable(audio_path(context.inputs[name], row), row)):
                context.drop(row.id, "unreadable_audio", reason)
            else:
                total += row.duration
                yield row

    context.write("train.jsonl", kept("train_manifest", config.max_train_seconds))
    context.write("dev.jsonl", kept("dev_manifest", float("inf")))
    context.write("truth.jsonl", _truth(context))


def _truth(context: Context) -> list[Utterance]:
    """Utterances with words, those of the test speakers first."""
    from speechkit.text import get_normalizer

    config = context.config
    normalizer = get_normalizer(config.normalizer)
    named = {name.strip() for name in config.test_speakers.split(",") if name.strip()}
    test: list[Utterance] = []
    tune: list[Utterance] = []
    for row in context.read("truth_manifest"):
        text = " ".join(normalizer.normalize(row.text or "").text.split())
        if not text:
            context.drop(row.id, "no_text")
        elif row.duration > config.max_seconds:
            context.drop(row.id, "too_long", f"{row.duration:.1f} s")
        else:
            part = "test" if not named or row.speaker in named else "tune"
            custom = {"part": part, "manifest": "truth_manifest"}
            (test if part == "test" else tune).append(msgspec.structs.replace(row, text=text, custom=custom))
    if missing := named - {row.speaker for row in test}:
        raise ConfigError(f"prepare.test_speakers: {sorted(missing)[0]!r} says nothing in truth_manifest")
    tune.sort(key=lambda row: item_seed(context.seed, row.id))
    for row in tune[config.tune_utterances :]:
        context.drop(row.id, "beyond_limit", f"tune_utterances is {config.tune_utterances}")
    return [*test, *tune[: config.tune_utterances]]


class AlignSilver(Worker):
    """Phones and syllables between the words of an utterance."""

    def setup(self, device: str) -> None:
        """Load the aligner."""
        from speechkit.syllables.silver_alignment import PhoneAligner

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
