"""Prepare, units, tokens, two trainings, evaluation, continuation and a page: stages 1 to 8."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec

from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.lm.records import TokenSpec
from speechkit.pipeline import SHARED, Context, Output, Recipe, Resources, Stage, external, model, stage
from speechkit.runtime import item_seed
from speechkit.units.quantizers import quantizer_digest, unit_sets
from speechkit.units.sequences import UnitSequence
from speechkit.units.stages import ASSIGN_DROPS, DROP_REASONS, AssignConfig, AssignUnits, Count, HeldOutConfig, held_out

from .measuring import ContinueConfig, EvaluateConfig, continued, evaluate, report
from .training import BaselineConfig, TrainConfig, train

AUDIO = tuple(external(f"{part}_manifest", schema=Utterance, of="prepare") for part in ("train", "test"))


class PrepareConfig(HeldOutConfig, frozen=True):
    """Which recordings teach, look on and judge.

    Attributes:
        dev_share: of the training speakers, whose recordings only look on.
    """

    dev_share: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.05


def prepare(context: Context) -> None:
    """Choose the recordings: nobody who judges teaches, nobody who looks on does."""
    train_rows, test = held_out(context)
    speakers = sorted(
        {row.speaker or row.id for row in train_rows}, key=lambda name: item_seed(context.seed, f"dev/{name}")
    )
    # One at least, where the others still teach.
    looking = min(math.ceil(context.config.dev_share * len(speakers)), len(speakers) - 1)
    rows = [*_marked(train_rows, "train", speakers[:looking]), *_marked(test, "test")]
    counts = {part: sum(row.custom["part"] == part for row in rows if row.custom) for part in ("train", "dev", "test")}
    context.say(", ".join(f"{count} {part}" for part, count in counts.items()) + " recordings")
    context.write("recordings.jsonl", rows)


def _marked(rows: Sequence[Utterance], part: str, looking: Sequence[str] = ()) -> Iterator[Utterance]:
    for row in rows:
        chosen = "dev" if (row.speaker or row.id) in looking else part
        custom = {"part": chosen, "id": row.id, "manifest": f"{part}_manifest"}
        yield msgspec.structs.replace(row, id=f"{part}/{row.id}", custom=custom, alignment=None, text=None)


class TokensConfig(msgspec.Struct, frozen=True):
    """The tokens of the model.

    Attributes:
        bpe: how many tokens acoustic BPE makes of the units, learnt on the training speech; 0: units are tokens.
    """

    codebook: Annotated[str, SHARED] = "embedded-100"
    bpe: Annotated[Count, SHARED] = 0


def tokens(context: Context) -> None:
    """Units as they are, or shortened by acoustic BPE."""
    from speechkit.io.atomic import write_json
    from speechkit.units.acoustic_bpe import learn_bpe
    from speechkit.units.quantizers import UnitSet, load_quantizer
    from speechkit.units.token_sequences import encode_sequence

    units = unit_sets(load_quantizer(context.config.codebook))[0]
    rows: list[UnitSequence] = list(context.read("units"))
    spec = TokenSpec(units, units)
    if context.config.bpe:
        learnt = {row.id for row in context.read("recordings") if row.custom["part"] == "train"}
        merges = learn_bpe(
            (row.units for row in rows if row.id in learnt), units.clusters, context.config.bpe, units.digest
        )
        rows = [encode_sequence(row, merges) for row in rows]
        spec = TokenSpec(UnitSet(merges.digest, merges.num_tokens, units.frames_per_second), units, merges)
    context.write("tokens.jsonl", rows)
    write_json(context.output("vocabulary.json"), spec)


LEARNT = (
    stage("tokens", "tokens.jsonl"),
    stage("tokens", "vocabulary.json"),
    stage("prepare", "recordings.jsonl"),
)
TRAINED = (Output("model"), Output("metrics.jsonl"))

recipe = Recipe(
    "unit_lm",
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
            name="units",
            run=AssignUnits,
            inputs=(
                stage("prepare", "recordings.jsonl"),
                *AUDIO,
                model("codebook", digest=quantizer_digest),
                model("encoder", digest=encoder_digest),
            ),
            outputs=(Output("units.jsonl", schema=UnitSequence),),
            config=AssignConfig,
            drop_reasons=ASSIGN_DROPS,
            resources=Resources(cpus=1, gpus=1),
        ),
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
            run=continued,
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
    ),
    description="Learn a language model of speech from units, measure it, and continue speech.",
)
