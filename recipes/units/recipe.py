"""Encode, cluster, assign, shorten and judge: stages 1 to 6."""

from __future__ import annotations

from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, model, stage
from speechkit.units.records import BpeCurve

from .config import (
    AssignConfig,
    BpeConfig,
    CodebooksConfig,
    FeaturesConfig,
    PrepareConfig,
    ScoreConfig,
)
from .frames import LayerFrames
from .scores import score
from .stages import PARTS, Encode, assign, cluster, prepare, shorten

TRAIN = external("train_manifest", schema=Utterance)
TEST = external("test_manifest", schema=Utterance)

recipe = Recipe(
    "units",
    (
        Stage(
            number=1,
            name="prepare",
            run=prepare,
            inputs=(TRAIN, TEST),
            outputs=(Output("recordings.jsonl", schema=Utterance), Output("test.jsonl", schema=Utterance)),
            config=PrepareConfig,
            drop_reasons=("too_short", "too_long", "test_speaker", "test_audio", "not_asked_for", "beyond_limit"),
            version=2,
        ),
        Stage(
            number=2,
            name="features",
            run=Encode,
            inputs=(stage("prepare", "recordings.jsonl"), TRAIN, TEST, model("encoder", digest=encoder_digest)),
            outputs=(Output("features.jsonl", schema=LayerFrames, holds=tuple(("part", part) for part in PARTS)),),
            config=FeaturesConfig,
            resources=Resources(cpus=1, gpus=1),
            drop_reasons=("unreadable_audio", "shorter_than_a_frame", "not_finite"),
        ),
        Stage(
            number=3,
            name="codebooks",
            run=cluster,
            inputs=(stage("features", "features.jsonl"),),
            outputs=(Output("codebooks"),),
            config=CodebooksConfig,
            resources=Resources(cpus=2),
        ),
        Stage(
            number=4,
            name="assign",
            run=assign,
            inputs=(stage("features", "features.jsonl"), stage("codebooks", "codebooks")),
            outputs=(Output("units"), Output("fits.json")),
            config=AssignConfig,
            resources=Resources(cpus=2),
        ),
        Stage(
            number=5,
            name="bpe",
            run=shorten,
            inputs=(stage("assign", "units"),),
            outputs=(Output("merges"), Output("curves.jsonl", schema=BpeCurve)),
            config=BpeConfig,
            version=3,
        ),
        Stage(
            number=6,
            name="score",
            run=score,
            inputs=(
                stage("assign", "units"),
                stage("assign", "fits.json"),
                stage("bpe", "curves.jsonl"),
                stage("prepare", "test.jsonl"),
                TEST,
                external("phones_manifest", schema=Utterance),
            ),
            outputs=(Output("scores.json"), Output("table.md"), Output("report.html")),
            config=ScoreConfig,
            version=2,
        ),
    ),
    description="Turn speech into discrete units by k-means, and tell what they are worth.",
)
