"""Prepare recordings and pre-train an encoder on them: stages 1 and 2."""

from __future__ import annotations

from recipes.ssl_pretrain.config import PrepareConfig, TrainConfig
from recipes.ssl_pretrain.stages import prepare, train_encoder
from speechkit.data.records import Utterance
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, model, stage

TRAIN = external("train_manifest", schema=Utterance)
DEV = external("dev_manifest", schema=Utterance)

recipe = Recipe(
    "ssl_pretrain",
    (
        Stage(
            number=1,
            name="prepare",
            run=prepare,
            inputs=(TRAIN, DEV),
            outputs=(
                Output("train.jsonl", schema=Utterance, min_records=1),
                Output("dev.jsonl", schema=Utterance, min_records=1),
            ),
            config=PrepareConfig,
            drop_reasons=("too_short",),
        ),
        Stage(
            number=2,
            name="train",
            run=train_encoder,
            inputs=(
                stage("prepare", "train.jsonl"),
                stage("prepare", "dev.jsonl"),
                TRAIN,
                DEV,
                model("init"),
                model("teacher"),
            ),
            outputs=(Output("model"), Output("metrics.jsonl")),
            config=TrainConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
    ),
    description="Pre-train a speech encoder on recordings alone.",
)
