"""Select utterances, recognise them, and score what was heard: stages 1 to 3."""

from __future__ import annotations

from speechkit.data.records import Utterance
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, model, stage

from .config import RecognizeConfig, ScoreConfig, SelectConfig
from .stages import Recognize, recognizers_digest, score, select

MANIFEST = external("manifest", schema=Utterance)

recipe = Recipe(
    "wer_benchmarks",
    (
        Stage(
            number=1,
            name="select",
            run=select,
            inputs=(MANIFEST,),
            outputs=(Output("utterances.jsonl", schema=Utterance),),
            config=SelectConfig,
            drop_reasons=("no_text", "other_speaker", "not_drawn"),
        ),
        Stage(
            number=2,
            name="recognize",
            run=Recognize,
            inputs=(
                stage("select", "utterances.jsonl"),
                MANIFEST,
                model("recognizers", digest=recognizers_digest),
            ),
            outputs=(Output("heard.jsonl", schema=Utterance),),
            config=RecognizeConfig,
            resources=Resources(cpus=1, gpus=1),
            drop_reasons=("unreadable_audio",),
            part_records=32,
        ),
        Stage(
            number=3,
            name="score",
            run=score,
            inputs=(stage("recognize", "heard.jsonl"),),
            outputs=(Output("scores.json"), Output("report.html")),
            config=ScoreConfig,
        ),
    ),
    description="Word error rates of several recognisers on a manifest, with intervals, groups and two normalisers.",
)
