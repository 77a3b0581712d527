"""Group, encode, train heads, fine-tune, run pipelines, report: stages 1 to 6."""

from __future__ import annotations

from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digests
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, model, stage

from .config import (
    EndToEndConfig,
    FeaturesConfig,
    FineTuneConfig,
    PipelineConfig,
    PrepareConfig,
    ReportConfig,
)
from .report import report
from .stages import (
    Heard,
    Item,
    Prediction,
    encode,
    fine_tune,
    pipelines,
    prepare,
    train_heads,
)

MANIFEST = external("manifest", schema=Utterance)
ITEMS = stage("prepare", "items.jsonl")
PREDICTIONS = Output("predictions.jsonl", schema=Prediction)

recipe = Recipe(
    "slue_intents",
    (
        Stage(
            number=1,
            name="prepare",
            run=prepare,
            inputs=(MANIFEST,),
            outputs=(Output("items.jsonl", schema=Item, min_records=4),),
            config=PrepareConfig,
        ),
        Stage(
            number=2,
            name="features",
            run=encode,
            inputs=(MANIFEST, model("encoders", digest=encoder_digests)),
            outputs=(Output("layers"),),
            config=FeaturesConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=3,
            name="endtoend",
            run=train_heads,
            inputs=(MANIFEST, ITEMS, stage("features", "layers")),
            outputs=(PREDICTIONS, Output("systems")),
            config=EndToEndConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=4,
            name="finetune",
            run=fine_tune,
            inputs=(MANIFEST, ITEMS, stage("endtoend", "systems"), model("encoder", digest=encoder_digests)),
            outputs=(Output("predictions.jsonl", schema=Prediction, min_records=0),),
            config=FineTuneConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=5,
            name="pipelines",
            run=pipelines,
            inputs=(MANIFEST, ITEMS),
            outputs=(PREDICTIONS, Output("texts.jsonl", schema=Heard, min_records=0)),
            config=PipelineConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=6,
            name="report",
            run=report,
            inputs=(
                ITEMS,
                stage("endtoend", "predictions.jsonl", name="endtoend"),
                stage("finetune", "predictions.jsonl", name="finetune"),
                stage("pipelines", "predictions.jsonl", name="pipelines"),
            ),
            outputs=(Output("scores.json"), Output("report.html"), Output("table.md")),
            config=ReportConfig,
        ),
    ),
    description="Understand spoken commands: intents and slots, end to end and by pipelines, with learning curves.",
)
