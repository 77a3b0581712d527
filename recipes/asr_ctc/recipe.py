"""Stages 1 to 4 of a CTC character recogniser: data, training, decoding and scores."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from speechkit.asr.ctc_objective import CtcTrainingConfig
from speechkit.data.records import Utterance
from speechkit.errors import ConfigError
from speechkit.pipeline import (
    NEUTRAL,
    SHARED,
    Context,
    Output,
    Recipe,
    Resources,
    Stage,
    external,
    model,
    stage,
)

if TYPE_CHECKING:
    from speechkit.training import Objective

# Later stages read the audio through the manifests of the first stage.
TRAIN, TEST = (external(f"{part}_manifest", schema=Utterance, of="prepare") for part in ("train", "test"))


class TranscriptDataConfig(msgspec.Struct, frozen=True):
    """Training and test utterances, with bounds of their duration in seconds and of characters per second."""

    train_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    normalizer: str = "simple"
    min_seconds: float = 0.5
    max_seconds: float = 29.0
    max_characters_per_second: float = 28.0


def prepare(context: Context) -> None:
    """Normalise texts, drop unusable utterances, and collect the characters of the training texts."""
    from speechkit.asr.ctc_training import character_set
    from speechkit.text import get_normalizer

    config = context.config
    for field in ("train_manifest", "test_manifest"):
        if getattr(config, field) is None:
            raise ConfigError(f"{field} is not set; run with {field}=FILE.jsonl")
    normalizer = get_normalizer(config.normalizer)

    def usable(name: str, known: set[str] | None) -> Iterator[Utterance]:
        for row in context.read(name):
            text = " ".join(normalizer.normalize(row.text or "").text.split())
            if not text:
                context.drop(row.id, "no_text")
            elif row.duration < config.min_seconds:
                context.drop(row.id, "too_short", f"{row.duration:.2f} s")
            elif row.duration > config.max_seconds and known is None:
                context.drop(row.id, "too_long", f"{row.duration:.2f} s")
            elif len(text) / row.duration > config.max_characters_per_second:
                context.drop(row.id, "too_fast", f"{len(text) / row.duration:.1f} characters/s")
            else:
                if known is not None and set(text) - known:
                    # Such characters count as errors, since the recogniser cannot write them.
                    context.log(f"{row.id}: {sorted(set(text) - known)} never occur in the training texts")
                yield msgspec.structs.replace(row, text=text)

    texts: list[str] = []

    def collected() -> Iterator[Utterance]:
        for row in usable("train_manifest", None):
            texts.append(row.text or "")
            yield row

    context.write("train.jsonl", collected())
    vocabulary = character_set(texts)
    context.write("test.jsonl", usable("test_manifest", set(vocabulary)))
    context.output("vocabulary.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")


class TrainConfig(CtcTrainingConfig, frozen=True):
    """The model and its training, see `CtcTrainingConfig`.

    Attributes:
        lang: language of the recordings.
        processes: parallel processes on this machine, 0: one for each GPU.
        tensorboard: also write TensorBoard files (extra).
        dev_utterances: number of test utterances, the first ones, whose loss is shown while training; it has no effect.
    """

    lang: Annotated[str, SHARED] = "en"
    processes: Annotated[int, NEUTRAL, msgspec.Meta(ge=0)] = 1
    tensorboard: Annotated[bool, NEUTRAL] = False
    dev_utterances: Annotated[int, NEUTRAL] = 50


def train(context: Context) -> None:
    """Train as configured; an interrupted run resumes from its checkpoint."""
    from speechkit.training import train_stage

    config: TrainConfig = context.config
    train_stage(context, objective, config.rates, processes=config.processes, tensorboard=config.tensorboard)


def objective(context: Context) -> Objective:
    """The configured model with its training and validation utterances."""
    from speechkit.asr.ctc_objective import ctc_objective

    vocabulary = tuple(json.loads(context.inputs["vocabulary"].read_text(encoding="utf-8")))
    train, held_out = ((list(context.read(part)), context.inputs[f"{part}_manifest"]) for part in ("train", "test"))
    return ctc_objective(context.config, vocabulary, train, held_out, context.device)


class DecodeConfig(msgspec.Struct, frozen=True):
    """Language of the recogniser; test utterances are recognised as files are by `speechkit transcribe`."""

    lang: Annotated[str, SHARED] = "en"


def transcribe(context: Context) -> None:
    """Recognise every test utterance with `load_recognizer`, in its windows."""
    import numpy as np

    from speechkit.asr import load_recognizer
    from speechkit.data.audio import read_waveform
    from speechkit.io.audio import write_audio

    recognizer = load_recognizer(
        str(Path(context.inputs["train"]) / "model"), lang=context.config.lang, device=context.device
    )
    rows = list(context.read("test"))

    def hypotheses() -> Iterator[Utterance]:
        with tempfile.TemporaryDirectory() as temporary:
            piece = Path(temporary) / "utterance.wav"
            for done, row in enumerate(rows, 1):
                waveform = read_waveform(row, context.inputs["test_manifest"])
                write_audio(piece, np.clip(waveform, -1, 1), 16_000)
                yield msgspec.structs.replace(row, text=recognizer.recognize(str(piece)).text)
                context.progress.update(done, len(rows))

    context.write("hypotheses.jsonl", hypotheses())


class ScoreConfig(msgspec.Struct, frozen=True):
    """Normaliser of both sides."""

    normalizer: str = "none"


def score(context: Context) -> None:
    """Word and character error rates with bootstrap intervals."""
    from speechkit.metrics import character_errors, word_errors

    references = {row.id: row.text or "" for row in context.read("test")}
    hypotheses = {row.id: row.text or "" for row in context.read("hypotheses")}
    answers = {}
    for name, errors in (("wer", word_errors), ("cer", character_errors)):
        result = errors(references, hypotheses, normalizer=context.config.normalizer)
        answers[name] = result.rate
    answers["utterances"] = len(references)
    shown = ", ".join(f"{name.upper()} {100 * answers[name]:.2f} %" for name in ("wer", "cer"))
    context.main_figure = f"{shown} of {len(references)} utterances"
    context.output("scores.json").write_text(json.dumps(answers, indent=2) + "\n", encoding="utf-8")


recipe = Recipe(
    "asr_ctc",
    (
        Stage(
            number=1,
            name="prepare",
            run=prepare,
            inputs=(external("train_manifest", schema=Utterance), external("test_manifest", schema=Utterance)),
            outputs=(
                Output("train.jsonl", schema=Utterance, min_records=1),
                Output("test.jsonl", schema=Utterance, min_records=1),
                Output("vocabulary.json"),
            ),
            config=TranscriptDataConfig,
            drop_reasons=("no_text", "too_short", "too_long", "too_fast", "unknown_character"),
        ),
        Stage(
            number=2,
            name="train",
            run=train,
            inputs=(
                stage("prepare", "train.jsonl"),
                stage("prepare", "test.jsonl"),
                stage("prepare", "vocabulary.json"),
                TRAIN,
                TEST,
                model("init"),
            ),
            outputs=(Output("model"), Output("metrics.jsonl")),
            config=TrainConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=3,
            name="decode",
            run=transcribe,
            inputs=(stage("prepare", "test.jsonl"), stage("train"), TEST),
            outputs=(Output("hypotheses.jsonl", schema=Utterance, min_records=1),),
            config=DecodeConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=4,
            name="score",
            run=score,
            inputs=(stage("prepare", "test.jsonl"), stage("decode", "hypotheses.jsonl")),
            outputs=(Output("scores.json"),),
            config=ScoreConfig,
        ),
    ),
    description="Train or fine-tune a CTC character recogniser on any manifest.",
    next_command="speechkit transcribe FILE --recognizer {exp}/02-train/current/model",
)
