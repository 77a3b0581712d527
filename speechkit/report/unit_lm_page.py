"""Tables and page of unit language models: bits per second compared with n-grams, and degeneration of continuations."""

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
    """A row per model."""

    def bits(value: float | None, interval: Interval | None) -> Value:
        low, high = (None, None) if interval is None else (interval.low, interval.high)
        return Value(value, low, high)

    per_second = mark_best([bits(entry.bits_per_second, entry.interval) for entry in report.systems], "lower")
    with_durations = mark_best(
        [bits(entry.full_bits_per_second, entry.full_interval) for entry in report.systems], "lower"
    )
    savings = {entry.other: percent(entry.share, entry.interval, signed=True) for entry in report.savings}
    rows: list[list[Any]] = [
        [
            entry.system,
            entry.parameters,
            Value(entry.perplexity),
            Value(entry.bits_per_unit, digits=3),
            units,
            full_bits,
            savings.get(entry.system),
        ]
        for entry, units, full_bits in zip(report.systems, per_second, with_durations, strict=True)
    ]
    names = ["weights", "perplexity", "bits a unit", "bits a second", "with durations", "saved by the unit model, %"]
    return Table(["model", *(Column(name, numeric=True) for name in names)], rows, "Unseen speakers")


def degeneration_table(report: UnitLmReport) -> Table:
    """Statistics of continuations, compared with speech."""

    def row(name: str, statistics: Degeneration) -> list[Any]:
        shares = [percent(getattr(statistics, field)) for _, field in SHARES]
        return [
            name,
            statistics.sequences,
            Value(statistics.mean_length),
            *shares,
            statistics.longest_loop,
            Value(statistics.unigram_entropy),
        ]

    continuations = report.continuations
    names = ["sequences", "units", *(name for name, _ in SHARES), "longest loop", "unigram entropy, bits"]
    rows = [row("test speech", continuations.test), row("continuations", continuations.continued)]
    return Table(["", *(Column(name, numeric=True) for name in names)], rows, "Continuations beside speech")


def lead(report: UnitLmReport) -> str:
    """Introductory text: test data and protocol."""
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
