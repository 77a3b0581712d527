"""Tables of tokenizations: costs of models per vocabulary, for a source of known entropy and for units."""

from __future__ import annotations

from collections.abc import Sequence

from speechkit.lm.analysis.tokenization import TokenizationCell
from speechkit.lm.synthetic.markov import MarkovCell
from speechkit.report.results import Column, Table, Value


def markov_table(cells: Sequence[MarkovCell], entropy: float) -> Table:
    """A row per lag, vocabulary and checkpoint of a model."""
    rows = [
        [
            cell.lag,
            cell.vocabulary,
            cell.model,
            Value(cell.nats, digits=3),
            Value(cell.ratio, digits=2),
            Value(cell.symbols_per_token, digits=1),
            cell.steps or None,
            f"{cell.symbols_seen:,}" if cell.symbols_seen else None,
            None if cell.step_seconds is None else Value(1e3 * cell.step_seconds, digits=0),
        ]
        for cell in cells
    ]
    names = (
        "nats a symbol", "over the source", "symbols a token", "steps", "symbols seen", "CPU ms a step",
    )  # fmt: skip
    columns: list[Column | str] = [Column("lag", numeric=True), Column("tokens", numeric=True), "model"]
    return Table(
        [*columns, *(Column(name, numeric=True) for name in names)], rows, f"Source of {entropy:.4f} nats a symbol"
    )


def tokenization_table(cells: Sequence[TokenizationCell]) -> Table:
    """A row per vocabulary and model."""
    rows = [
        [
            cell.vocabulary,
            cell.model,
            Value(cell.costs.bits_per_second, cell.costs.interval.low, cell.costs.interval.high),
            Value(cell.tokens_per_second, digits=1),
            f"{cell.costs.parameters:,}",
            cell.steps or None,
            None if cell.seconds_seen is None else Value(cell.seconds_seen / 3600, digits=1),
            None if cell.step_seconds is None else Value(1e3 * cell.step_seconds, digits=0),
        ]
        for cell in cells
    ]
    names = ("bits a second", "tokens a second", "weights", "steps", "hours seen", "CPU ms a step")
    columns: list[Column | str] = [Column("tokens", numeric=True), "model"]
    return Table([*columns, *(Column(name, numeric=True) for name in names)], rows, "Units of unseen speakers")
