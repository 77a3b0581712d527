"""Tables and the page of unit language models: bits a second beside n-grams, and how continuations degenerate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from speechkit.lm.analysis.degeneration import Degeneration
from speechkit.lm.records import UnitLmReport
from speechkit.metrics.bootstrap import Interval
from speechkit.report.page import write_page
from speechkit.report.results import Column, Table, Value, mark_best, percent

TITLE = "Unit language model"
SHARES = (
    ("empty, %", "empty"),
    ("cut off, %", "cut_off"),
    ("4-grams repeated, %", "repeated_ngrams"),
    ("units repeated within 16, %", "repeated_units"),
    ("with a loop, %", "looping"),
    ("bigrams distinct, %", "distinct_bigrams"),
)


def bits_table(report: UnitLmReport) -> Table:
    """A row for each model."""

    def bits(value: float | None, interval: Interval | None) -> Value:
        low, high = (None, None) if interval is None else (interval.low, interval.high)
        return Value(value, low, high)

    alone = mark_best([bits(each.bits_per_second, each.interval) for each in report.systems], "lower")
    full = mark_best([bits(each.full_bits_per_second, each.full_interval) for each in report.systems], "lower")
    savings = {each.other: percent(each.share, each.interval, signed=True) for each in report.savings}
    rows: list[list[Any]] = [
        [
            each.system,
            each.parameters,
            Value(each.perplexity),
            Value(each.bits_per_unit, digits=3),
            units,
            lasting,
            savings.get(each.system),
        ]
        for each, units, lasting in zip(report.systems, alone, full, strict=True)
    ]
    names = ["weights", "perplexity", "bits a unit", "bits a second", "with durations", "saved by the unit model, %"]
    return Table(["model", *(Column(name, numeric=True) for name in names)], rows, "Unseen speakers")


def degeneration_table(report: UnitLmReport) -> Table:
    """Continuations beside speech."""

    def row(name: str, each: Degeneration) -> list[Any]:
        shares = [percent(getattr(each, field)) for _, field in SHARES]
        return [name, each.sequences, Value(each.mean_length), *shares, each.longest_loop, Value(each.unigram_entropy)]

    said = report.continuations
    names = ["sequences", "units", *(name for name, _ in SHARES), "longest loop", "unigram entropy, bits"]
    rows = [row("test speech", said.test), row("continuations", said.continued)]
    return Table(["", *(Column(name, numeric=True) for name in names)], rows, "Continuations beside speech")


def lead(report: UnitLmReport) -> str:
    """What was measured, and how."""
    first = report.systems[0]
    return (
        f"{first.recordings} recordings of unseen speakers ({first.seconds / 60:.1f} minutes, {first.units:,} units). "
        f"The unigram entropy of the test is {report.entropy_bits_per_second:.1f} bits a second. {report.protocol}"
    )


def markdown(report: UnitLmReport) -> str:
    """Both tables."""
    return f"{lead(report)}\n\n{bits_table(report).markdown()}\n{degeneration_table(report).markdown()}"


def write_unit_lm_page(path: Path | str, report: UnitLmReport) -> Path:
    """Write the page and return its path."""
    return write_page(
        path,
        "unit_lm.html",
        title=TITLE,
        lead=lead(report),
        bits=bits_table(report),
        degeneration=degeneration_table(report),
        prompt_seconds=report.continuations.prompt_seconds,
    )
