"""Split a corpus, train a text model, and measure what recognition errors cost it: stages 1 to 3."""

from __future__ import annotations

from speechkit.pipeline import Output, Recipe, Resources, Stage, external, stage

from .config import CorpusConfig, SensitivityConfig, TrainConfig
from .stages import analyse, corpus, train

recipe = Recipe(
    "slue",
    (
        Stage(
            number=1,
            name="corpus",
            run=corpus,
            inputs=(external("source"),),
            outputs=(Output("train.jsonl"), Output("dev.jsonl"), Output("test.jsonl")),
            config=CorpusConfig,
            drop_reasons=("duplicate_id",),
        ),
        Stage(
            number=2,
            name="train",
            run=train,
            inputs=(stage("corpus", "train.jsonl"), stage("corpus", "dev.jsonl")),
            outputs=(Output("model"), Output("selection.json")),
            config=TrainConfig,
            resources=Resources(cpus=1, gpus=1),
        ),
        Stage(
            number=3,
            name="sensitivity",
            run=analyse,
            inputs=(stage("corpus", "test.jsonl"), stage("train", "model")),
            outputs=(Output("sensitivity.json"), Output("report.html")),
            config=SensitivityConfig,
            resources=Resources(cpus=1, gpus=1),
        ),
    ),
    description="Entities, intents or answers from text, and their scores against the word error rate.",
)
