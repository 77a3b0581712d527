"""Prepare, units, tokens, two trainings, evaluation, continuation, a page, and pairs: stages 1 to 11."""

from __future__ import annotations

from speechkit.data.records import Utterance
from speechkit.lm.pair_scores import PairClip
from speechkit.lm.pair_stages import PAIR_DROPS, JudgeConfig, PairsConfig
from speechkit.lm.stages import (
    BaselineConfig,
    ContinueConfig,
    EvaluateConfig,
    TokensConfig,
    TrainConfig,
    evaluate,
    tokens,
    train,
    unit_stages,
)
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, model, stage
from speechkit.units.quantizers import quantizer_digest
from speechkit.units.sequences import UnitSequence
from speechkit.units.stages import assign_stage

from .pairs import judge, pairs
from .showing import report, speak

LEARNT = (
    stage("tokens", "tokens.jsonl"),
    stage("tokens", "vocabulary.json"),
    stage("prepare", "recordings.jsonl"),
)
TRAINED = (Output("model"), Output("metrics.jsonl"))

recipe = Recipe(
    "unit_lm",
    (
        *unit_stages(1),
        Stage(
            number=3,
            name="tokens",
            run=tokens,
            inputs=(
                stage("units", "units.jsonl"),
                stage("prepare", "recordings.jsonl"),
                model("codebook", digest=quantizer_digest),
            ),
            outputs=(Output("tokens.jsonl", schema=UnitSequence), Output("vocabulary.json")),
            config=TokensConfig,
        ),
        Stage(
            number=4,
            name="train",
            run=train,
            inputs=LEARNT,
            outputs=TRAINED,
            config=TrainConfig,
            resources=Resources(cpus=1, gpus=1),
        ),
        Stage(
            number=5,
            name="baseline",
            run=train,
            inputs=LEARNT,
            outputs=TRAINED,
            config=BaselineConfig,
            resources=Resources(cpus=1, gpus=1),
        ),
        Stage(
            number=6,
            name="evaluate",
            run=evaluate,
            inputs=(
                *LEARNT,
                stage("train", "model", name="trained"),
                stage("baseline", "model", name="baseline"),
            ),
            outputs=(Output("costs.json"),),
            config=EvaluateConfig,
            resources=Resources(cpus=1, gpus=1),
        ),
        Stage(
            number=7,
            name="continue",
            run=speak,
            inputs=(*LEARNT, stage("train", "model", name="trained")),
            outputs=(Output("continued"), Output("degeneration.json")),
            config=ContinueConfig,
            resources=Resources(cpus=1, gpus=1),
        ),
        Stage(
            number=8,
            name="report",
            run=report,
            inputs=(stage("evaluate", "costs.json"), stage("continue", "degeneration.json")),
            outputs=(Output("report.json"), Output("table.md"), Output("report.html")),
        ),
        Stage(
            number=9,
            name="pairs",
            run=pairs,
            inputs=(
                external("train_manifest", schema=Utterance, of="prepare"),
                external("swuggy"),
                external("sblimp"),
                external("storycloze"),
            ),
            outputs=(
                Output("pairs.jsonl", schema=PairClip, min_records=0),
                Output("recordings.jsonl", schema=Utterance, min_records=0),
                Output("clips", min_records=0),
            ),
            config=PairsConfig,
            drop_reasons=PAIR_DROPS,
        ),
        assign_stage(
            10,
            "pair_units",
            [stage("pairs", "recordings.jsonl")],
            Output("said.jsonl", schema=UnitSequence, min_records=0),
        ),
        Stage(
            number=11,
            name="judge",
            run=judge,
            inputs=(
                *LEARNT,
                stage("pairs", "pairs.jsonl"),
                stage("pair_units", "said.jsonl"),
                stage("train", "model", name="trained"),
                stage("baseline", "model", name="baseline"),
            ),
            outputs=(Output("scores.json"), Output("pairs.md")),
            config=JudgeConfig,
            resources=Resources(cpus=1, gpus=1),
        ),
    ),
    next_command="speechkit continue FILE --model {exp}/04-train/current/model -o continued.jsonl",
    description="Learn a language model of speech from units, measure it, and continue speech.",
)
