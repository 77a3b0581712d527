"""Tables of tokens: what models of each vocabulary need for a source with a known entropy, and for units."""

from __future__ import annotations

from collections.abc import Sequence

from speechkit.lm.analysis.tokenization import TokenizationCell
from speechkit.lm.synthetic.markov import MarkovCell
from speechkit.report.results import Column, Table, Value


def markov_table(cells: Sequence[MarkovCell], entropy: float) -> Table:
    """A row for each lag, vocabulary and look at a model."""
    rows = [
        [
            each.lag,
            each.vocabulary,
            each.model,
            Value(each.nats, digits=3),
            Value(each.ratio, digits=2),
            Value(each.symbols_per_token, digits=1),
            each.steps or None,
            f"{each.symbols_seen:,}" if each.symbols_seen else None,
            None if each.step_seconds is None else Value(1e3 * each.step_seconds, digits=0),
        ]
        for each in cells
    ]
    names = (
        "nats a symbol", "over the source", "symbols a token", "steps", "symbols seen", "CPU ms a step",
    )  # fmt: skip
    columns: list[Column | str] = [Column("lag", numeric=True), Column("tokens", numeric=True), "model"]
    return Table(
        [*columns, *(Column(name, numeric=True) for name in names)], rows, f"Source of {entropy:.4f} nats a symbol"
    )


def tokenization_table(cells: Sequence[TokenizationCell]) -> Table:
    """A row for each vocabulary and model."""
    rows = [
        [
            each.vocabulary,
            each.model,
            Value(each.costs.bits_per_second, each.costs.interval.low, each.costs.interval.high),
            Value(each.tokens_per_second, digits=1),
            f"{each.costs.parameters:,}",
            each.steps or None,
            None if each.seconds_seen is None else Value(each.seconds_seen / 3600, digits=1),
            None if each.step_seconds is None else Value(1e3 * each.step_seconds, digits=0),
        ]
        for each in cells
    ]
    names = ("bits a second", "tokens a second", "weights", "steps", "hours seen", "CPU ms a step")
    columns: list[Column | str] = [Column("tokens", numeric=True), "model"]
    return Table([*columns, *(Column(name, numeric=True) for name in names)], rows, "Units of unseen speakers")
