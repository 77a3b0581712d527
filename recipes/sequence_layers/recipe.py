"""Train every sequence layer on tasks with known answers and put them in one table: stages 1 and 2."""

from __future__ import annotations

from speechkit.lm.synthetic.records import Cell, ComparisonConfig
from speechkit.pipeline import Output, Recipe, Resources, Stage, stage

from .cells import TableConfig, compare, tabulate

recipe = Recipe(
    "sequence_layers",
    (
        Stage(
            number=1,
            name="compare",
            run=compare,
            outputs=(Output("cells.jsonl", schema=Cell),),
            config=ComparisonConfig,
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
    description="Compare sequence layers of equal size on in-context languages and associative recall.",
)
