"""Train the same heads on several encoders, predict, compare: stages 1 to 3."""

from __future__ import annotations

from recipes.slue_encoders.compare import compare
from recipes.slue_encoders.config import CompareConfig, PredictConfig, SystemsConfig
from recipes.slue_encoders.stages import predict, task_digests, train_systems
from recipes.slue_intents.stages import encoder_digests
from speechkit.pipeline import Output, Recipe, Resources, Stage, model, stage

TASKS = model("tasks", digest=task_digests)

recipe = Recipe(
    "slue_encoders",
    (
        Stage(
            number=1,
            name="systems",
            run=train_systems,
            inputs=(TASKS, model("encoders", digest=encoder_digests)),
            outputs=(Output("systems"),),
            config=SystemsConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=2,
            name="predict",
            run=predict,
            inputs=(stage("systems", "systems"), TASKS),
            outputs=(Output("predictions"),),
            config=PredictConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=3,
            name="compare",
            run=compare,
            inputs=(stage("predict", "predictions"), TASKS),
            outputs=(Output("scores.json"), Output("table.md"), Output("report.html")),
            config=CompareConfig,
        ),
    ),
    description="Compare encoders on understanding: one table of tasks with intervals, published results beside it.",
)
