"""Prepare, train, decode and score a CTC character recogniser: stages 1 to 4."""

from __future__ import annotations

from speechkit.data.records import Utterance
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, model, stage

from .config import DecodeConfig, PrepareConfig, ScoreConfig, TrainConfig
from .stages import prepare, score, train_model, transcribe

TRAIN = external("train_manifest", schema=Utterance)
TEST = external("test_manifest", schema=Utterance)

recipe = Recipe(
    "asr_ctc",
    (
        Stage(
            number=1,
            name="prepare",
            run=prepare,
            inputs=(TRAIN, TEST),
            outputs=(
                Output("train.jsonl", schema=Utterance, min_records=1),
                Output("test.jsonl", schema=Utterance, min_records=1),
                Output("vocabulary.json"),
            ),
            config=PrepareConfig,
            drop_reasons=("no_text", "too_short", "too_long", "too_fast", "unknown_character"),
        ),
        Stage(
            number=2,
            name="train",
            run=train_model,
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
)
