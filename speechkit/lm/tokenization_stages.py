"""Stages of the recipe tokenization: result cells computed one by one and saved as soon as they are done."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from speechkit.lm.analysis.tokenization import TokenizationCell, TokenizationConfig, tokenization_cells
from speechkit.lm.stages import part_rows
from speechkit.lm.synthetic.markov import MarkovCell, markov_cells
from speechkit.pipeline import SHARED, Context
from speechkit.units.quantizers import load_quantizer, unit_sets


class CellsConfig(TokenizationConfig, frozen=True):
    """See `TokenizationConfig`; ``codebook`` is the codebook of the units."""

    codebook: Annotated[str, SHARED] = "embedded-100"


def markov(context: Context) -> list[MarkovCell]:
    """Models of Markov sources for every lag and vocabulary size."""
    config = context.config
    cells: list[MarkovCell] = []
    total, done = len(config.lags) * len(config.vocabularies), 0
    for lag in config.lags:
        for vocabulary in config.vocabularies:
            name = f"markov-{lag}-{vocabulary}"
            make = partial(
                markov_cells, lag, vocabulary, config, context.scratch / name, context.seed, context.device,
                lambda: context.interrupted,
            )  # fmt: skip
            cells += context.kept(name, list[MarkovCell], make)
            done += 1
            context.progress.update(done, total)
    return cells


def units_cells(context: Context) -> None:
    """Networks and n-grams for every vocabulary size, evaluated on unseen speakers."""
    config = context.config
    units = unit_sets(load_quantizer(config.codebook))[0]
    rows = part_rows(context)
    named = {row.id: row.speaker or row.id for row in context.read("recordings")}
    speakers = [named[row.id] for row in rows["test"]]
    cells: list[TokenizationCell] = []
    for done, vocabulary in enumerate(config.vocabularies, 1):
        name = f"units-{vocabulary}"
        make = partial(
            tokenization_cells, vocabulary, config, units, rows["train"], rows["dev"], rows["test"], speakers,
            context.scratch / name, context.device, lambda: context.interrupted,
        )  # fmt: skip
        cells += context.kept(name, list[TokenizationCell], make)
        context.progress.update(done, len(config.vocabularies))
    context.write("cells.jsonl", cells)
