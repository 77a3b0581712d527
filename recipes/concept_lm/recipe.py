"""Stages 1 to 9: data, segments, their vectors, training of four models, evaluation and a page."""

from __future__ import annotations

from typing import Any

import msgspec

from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.encoders.stages import DROP_REASONS as ENCODE_DROPS
from speechkit.lm.concepts.documents import SegmentVector
from speechkit.lm.concepts.records import ConceptReport
from speechkit.lm.concepts.stages import (
    MODELS,
    CodesStage,
    EvaluateConfig,
    SegmentVectors,
    TrainConfig,
    TwoTowerStage,
    VectorsConfig,
    VectorsStage,
    evaluate,
    train,
)
from speechkit.lm.stages import PrepareConfig, prepare
from speechkit.mining.pauses import PAUSE_DROPS, CutAtPauses, PausesConfig
from speechkit.pipeline import Context, Output, Recipe, Resources, Stage, external, model, stage
from speechkit.units.stages import DROP_REASONS

AUDIO = tuple(external(f"{part}_manifest", schema=Utterance, of="prepare") for part in ("train", "test"))
VECTORS = stage("encode", "vectors.jsonl")


def training(number: int, name: str, config: Any) -> Stage:
    """Training stage of one kind of model."""
    return Stage(
        number=number,
        name=name,
        run=train,
        inputs=(VECTORS,),
        outputs=(Output("model"), Output("metrics.jsonl")),
        config=config,
        resources=Resources(cpus=1, gpus=1),
    )


def report(context: Context) -> None:
    """The table and the page."""
    from speechkit.io.atomic import write_json, write_text
    from speechkit.report.concept_lm_page import markdown, write_concept_lm_page

    scores = msgspec.json.decode(context.inputs["scores"].read_bytes(), type=ConceptReport)
    write_json(context.output("report.json"), scores)
    write_text(context.output("table.md"), markdown(scores))
    write_concept_lm_page(context.output("report.html"), scores)
    best = max(scores.systems, key=lambda system: system.direction_accuracy)
    context.main_figure = f"{best.system}: {best.direction_accuracy:.1%} of a speaker's other segments are less alike"


recipe = Recipe(
    "concept_lm",
    (
        Stage(
            number=1,
            name="prepare",
            run=prepare,
            inputs=(external("train_manifest", schema=Utterance), external("test_manifest", schema=Utterance)),
            outputs=(Output("recordings.jsonl", schema=Utterance),),
            config=PrepareConfig,
            drop_reasons=DROP_REASONS,
        ),
        Stage(
            number=2,
            name="segments",
            run=CutAtPauses,
            inputs=(stage("prepare", "recordings.jsonl"), *AUDIO),
            outputs=(Output("segments.jsonl", schema=Utterance),),
            config=PausesConfig,
            drop_reasons=PAUSE_DROPS,
        ),
        Stage(
            number=3,
            name="encode",
            run=SegmentVectors,
            inputs=(stage("segments", "segments.jsonl"), *AUDIO, model("encoder", digest=encoder_digest)),
            outputs=(Output("vectors.jsonl", schema=SegmentVector),),
            config=VectorsConfig,
            drop_reasons=ENCODE_DROPS,
            resources=Resources(cpus=1, gpus=1),
        ),
        training(4, "base", TrainConfig),
        training(5, "two_tower", TwoTowerStage),
        training(6, "quantized_codes", CodesStage),
        training(7, "quantized_vectors", VectorsStage),
        Stage(
            number=8,
            name="evaluate",
            run=evaluate,
            inputs=(VECTORS, *(stage(name, "model", name=name) for name in MODELS)),
            outputs=(Output("scores.json"),),
            config=EvaluateConfig,
            resources=Resources(cpus=1, gpus=1),
        ),
        Stage(
            number=9,
            name="report",
            run=report,
            inputs=(stage("evaluate", "scores.json"),),
            outputs=(Output("report.json"), Output("table.md"), Output("report.html")),
        ),
    ),
    next_command="speechkit lm follows {exp}/05-two_tower/current/model CONTEXT --among FILE...",
    description="Foresee the next segment of speech as a vector, and find it among others of the same speaker.",
)
