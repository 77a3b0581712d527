"""Encode, train the same heads on several encoders, predict, compare: stages 1 to 4."""

from __future__ import annotations

from speechkit.encoders.load import encoder_digests
from speechkit.pipeline import Output, Recipe, Resources, Stage, model, stage

from .compare import compare
from .config import CompareConfig, FeaturesConfig, PredictConfig, SystemsConfig
from .judging import predict
from .stages import encode, train_systems
from .tasks import all_digests, training_digests

LEARNED_FROM = model("tasks", digest=training_digests)
TASKS = model("tasks", digest=all_digests)
ENCODERS = model("encoders", digest=encoder_digests)

recipe = Recipe(
    "slue_encoders",
    (
        Stage(
            number=1,
            name="features",
            run=encode,
            inputs=(LEARNED_FROM, ENCODERS),
            outputs=(Output("layers"),),
            config=FeaturesConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=2,
            name="systems",
            run=train_systems,
            inputs=(LEARNED_FROM, ENCODERS, stage("features", "layers")),
            outputs=(Output("systems"),),
            config=SystemsConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=3,
            name="predict",
            run=predict,
            inputs=(stage("systems", "systems"), TASKS),
            outputs=(Output("predictions"),),
            config=PredictConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=4,
            name="compare",
            run=compare,
            inputs=(stage("predict", "predictions"), TASKS),
            outputs=(Output("scores.json"), Output("table.md"), Output("report.html")),
            config=CompareConfig,
        ),
    ),
    description="Compare encoders on understanding: one table of tasks with intervals, published results beside it.",
)
