"""Stages of the recipe tokenization: result cells computed one by one and saved as soon as they are done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from speechkit.io.atomic import atomic_path
from speechkit.lm.analysis.tokenization import TokenizationCell, TokenizationConfig, tokenization_cells
from speechkit.lm.stages import part_rows
from speechkit.lm.synthetic.markov import MarkovCell, markov_cells
from speechkit.pipeline import SHARED, Context, Interrupted
from speechkit.units.quantizers import load_quantizer, unit_sets

Cell = TypeVar("Cell")


class CellsConfig(TokenizationConfig, frozen=True):
    """See `TokenizationConfig`; ``codebook`` is the codebook of the units."""

    codebook: Annotated[str, SHARED] = "embedded-100"


def _kept(context: Context, name: str, kind: type[Cell], make: Callable[[], list[Cell] | None]) -> list[Cell]:
    """Compute cells once; a resumed run keeps the finished ones."""
    path = context.scratch / f"{name}.json"
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=list[kind])  # type: ignore[valid-type]
    made = make()
    if made is None or context.interrupted:
        raise Interrupted
    with atomic_path(path) as temporary:
        temporary.write_bytes(msgspec.json.encode(made))
    return made


def markov(context: Context) -> list[MarkovCell]:
    """Models of Markov sources for every lag and vocabulary size."""
    config = context.config
    cells: list[MarkovCell] = []
    total, done = len(config.lags) * len(config.vocabularies), 0
    for lag in config.lags:
        for vocabulary in config.vocabularies:
            name = f"markov-{lag}-{vocabulary}"
            folder = context.scratch / name

            def make(lag: int = lag, vocabulary: int = vocabulary, folder: Path = folder) -> list[MarkovCell] | None:
                return markov_cells(
                    lag, vocabulary, config, folder, context.seed, context.device, lambda: context.interrupted
                )

            cells += _kept(context, name, MarkovCell, make)
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

        def make(vocabulary: int = vocabulary, name: str = name) -> list[TokenizationCell] | None:
            return tokenization_cells(
                vocabulary, config, units, rows["train"], rows["dev"], rows["test"], speakers,
                context.scratch / name, context.device, lambda: context.interrupted,
            )  # fmt: skip

        cells += _kept(context, name, TokenizationCell, make)
        context.progress.update(done, len(config.vocabularies))
    context.write("cells.jsonl", cells)
