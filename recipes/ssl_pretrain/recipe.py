"""Prepare recordings and pre-train an encoder on them: stages 1 to 3."""

from __future__ import annotations

from speechkit.data.records import Utterance
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, model, stage

from .config import PrepareConfig, TargetsConfig, TrainConfig
from .stages import prepare, train_encoder
from .targets import make_targets

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
            drop_reasons=("too_short", "unreadable_audio"),
        ),
        Stage(
            number=2,
            name="targets",
            run=make_targets,
            inputs=(stage("prepare", "train.jsonl"), stage("prepare", "dev.jsonl"), TRAIN, DEV, model("encoder")),
            outputs=(Output("targets.safetensors"),),
            config=TargetsConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=3,
            name="train",
            run=train_encoder,
            inputs=(
                stage("prepare", "train.jsonl"),
                stage("prepare", "dev.jsonl"),
                stage("targets", "targets.safetensors"),
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
