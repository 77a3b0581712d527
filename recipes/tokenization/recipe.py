"""What tokens tell that symbols do not: a source with a known answer, then units of speech. Stages 1 to 5."""

from __future__ import annotations

from speechkit.lm.analysis.tokenization import TokenizationCell
from speechkit.lm.stages import unit_stages
from speechkit.lm.synthetic.markov import MarkovCell, MarkovConfig
from speechkit.lm.tokenization_stages import CellsConfig, units_cells
from speechkit.pipeline import Output, Recipe, Resources, Stage, model, stage
from speechkit.units.quantizers import quantizer_digest

from .cells import markov, tabulate

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
        *unit_stages(2),
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
