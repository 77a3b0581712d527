"""What tokens tell that symbols do not: a source with a known answer, then units of speech. Stages 1 to 5."""

from __future__ import annotations

from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.lm.analysis.tokenization import TokenizationCell
from speechkit.lm.stages import PrepareConfig, prepare
from speechkit.lm.synthetic.markov import MarkovCell, MarkovConfig
from speechkit.lm.tokenization_stages import CellsConfig, units_cells
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, model, stage
from speechkit.units.quantizers import quantizer_digest
from speechkit.units.sequences import UnitSequence
from speechkit.units.stages import ASSIGN_DROPS, DROP_REASONS, AssignConfig, AssignUnits

from .cells import markov, tabulate

AUDIO = tuple(external(f"{part}_manifest", schema=Utterance, of="prepare") for part in ("train", "test"))

recipe = Recipe(
    "tokenization",
    (
        Stage(
            number=1,
            name="markov",
            run=markov,
            outputs=(Output("markov.jsonl", schema=MarkovCell), Output("markov.md")),
            config=MarkovConfig,
            resources=Resources(cpus=1, gpus=1),
        ),
        Stage(
            number=2,
            name="prepare",
            run=prepare,
            inputs=(external("train_manifest", schema=Utterance), external("test_manifest", schema=Utterance)),
            outputs=(Output("recordings.jsonl", schema=Utterance),),
            config=PrepareConfig,
            drop_reasons=DROP_REASONS,
        ),
        Stage(
            number=3,
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
            number=4,
            name="cells",
            run=units_cells,
            inputs=(
                stage("units", "units.jsonl", name="tokens"),
                stage("prepare", "recordings.jsonl"),
                model("codebook", digest=quantizer_digest),
            ),
            outputs=(Output("cells.jsonl", schema=TokenizationCell),),
            config=CellsConfig,
            resources=Resources(cpus=1, gpus=1),
        ),
        Stage(
            number=5,
            name="table",
            run=tabulate,
            inputs=(stage("markov", "markov.jsonl"), stage("cells", "cells.jsonl")),
            outputs=(Output("table.md"),),
        ),
    ),
    description="Compare tokens of units, and of a source with a known entropy, at equal compute.",
)
