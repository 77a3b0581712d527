"""Train every sequence layer on tasks with known answers and put them in one table: stages 1 and 2."""

from __future__ import annotations

from speechkit.data.records import Utterance
from speechkit.lm.synthetic.records import Cell, ComparisonConfig
from speechkit.lm.synthetic.stage import CELL_DROPS, compare
from speechkit.pipeline import Output, Recipe, Resources, Stage, external, stage
from speechkit.units.sequences import UnitSequence

from .cells import TableConfig, tabulate

recipe = Recipe(
    "sequence_layers",
    (
        Stage(
            number=1,
            name="compare",
            run=compare,
            inputs=(
                external("train_units", schema=UnitSequence),
                external("test_units", schema=UnitSequence),
                external("clips", schema=Utterance),
            ),
            outputs=(Output("cells.jsonl", schema=Cell),),
            config=ComparisonConfig,
            drop_reasons=CELL_DROPS,
            resources=Resources(cpus=1, gpus=1),
        ),
        Stage(
            number=2,
            name="table",
            run=tabulate,
            inputs=(stage("compare", "cells.jsonl"),),
            outputs=(Output("table.md"),),
            config=TableConfig,
        ),
    ),
    description="Compare sequence layers of equal size on languages, recall, units of speech and raw waveforms.",
)
