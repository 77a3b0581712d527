"""Perturb and encode, cluster, train invariant quantizers, and compare: stages 1 to 6."""

from __future__ import annotations

from speechkit.asr.load import recognizer_digest
from speechkit.asr.stages import AlignWords
from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, model, stage

from .config import (
    CodebooksConfig,
    EvaluateConfig,
    FeaturesConfig,
    PrepareConfig,
    TrainConfig,
    WordsConfig,
)
from .encoding import encode
from .evaluation import evaluate
from .stages import cluster, prepare, start_digest, train_quantizers

TRAIN = external("train_manifest", schema=Utterance)
TEST = external("test_manifest", schema=Utterance)

recipe = Recipe(
    "units_invariant",
    (
        Stage(
            number=1,
            name="prepare",
            version=2,
            run=prepare,
            inputs=(TRAIN, TEST),
            outputs=(
                Output("train.jsonl", schema=Utterance),
                Output("test.jsonl", schema=Utterance),
                Output("speech.jsonl", schema=Utterance, min_records=0),
            ),
            config=PrepareConfig,
            drop_reasons=("too_short", "too_long", "test_speaker", "test_audio", "not_asked_for", "beyond_limit"),
        ),
        Stage(
            number=2,
            name="words",
            version=2,
            run=AlignWords,
            inputs=(stage("prepare", "speech.jsonl"), TEST, model("recognizer", digest=recognizer_digest)),
            outputs=(Output("words.jsonl", schema=Utterance, min_records=0),),
            config=WordsConfig,
            resources=Resources(cpus=2, gpus=1),
            drop_reasons=("no_alignment", "unreadable_audio"),
            part_records=64,
        ),
        Stage(
            number=3,
            name="features",
            run=encode,
            inputs=(
                stage("prepare", "train.jsonl"),
                stage("prepare", "test.jsonl"),
                TRAIN,
                TEST,
                external("noises"),
                external("test_noises"),
                model("encoder", digest=encoder_digest),
            ),
            outputs=(Output("features"),),
            config=FeaturesConfig,
            resources=Resources(cpus=1, gpus=1),
            drop_reasons=("unreadable_audio",),
        ),
        Stage(
            number=4,
            name="codebooks",
            version=5,
            run=cluster,
            inputs=(stage("features", "features"),),
            outputs=(Output("codebooks"), Output("teachers")),
            config=CodebooksConfig,
            resources=Resources(cpus=2),
        ),
        Stage(
            number=5,
            name="train",
            version=4,
            run=train_quantizers,
            inputs=(
                stage("features", "features"),
                stage("codebooks", "teachers"),
                model("encoder", digest=encoder_digest),
                model("start", digest=start_digest),
            ),
            outputs=(Output("quantizers"),),
            config=TrainConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=6,
            name="evaluate",
            version=6,
            run=evaluate,
            inputs=(
                stage("features", "features"),
                stage("codebooks", "codebooks"),
                stage("codebooks", "teachers"),
                stage("train", "quantizers"),
                stage("prepare", "test.jsonl"),
                stage("words", "words.jsonl"),
                TEST,
            ),
            outputs=(Output("scores.json"), Output("table.md"), Output("report.html")),
            config=EvaluateConfig,
            resources=Resources(cpus=1),
        ),
    ),
    description="Train quantizers whose units withstand changes of the sound, and measure by how much.",
)
