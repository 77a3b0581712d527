"""Tables and the page of invariant units: unit edit distances, word discrimination and statistics beside k-means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechkit.augment.perturbations import EVERY
from speechkit.report.page import write_page
from speechkit.report.results import Column, Table, Value, percent
from speechkit.report.unit_picture import UnitPicture, unit_figure
from speechkit.units.invariant.records import BASELINE, InvariantReport, SystemResult, in_order

WAYS = ("within", "across")


def distances_table(report: InvariantReport) -> Table:
    """By change and quantizer: the distance with its interval, and the reduction from k-means with its own."""
    rows: list[list[Any]] = []
    for each in report.comparisons:
        known = each.systems[BASELINE].ued.scores
        for kind in [*(kind for kind in EVERY if kind in known), "overall", "floor"]:
            for system, result in in_order(each):
                score = getattr(result.ued, kind) if kind in ("overall", "floor") else result.ued.scores[kind]
                if score is not None:
                    reduction = each.reductions.get(system, {}).get(kind)
                    ued = percent(score.ued, score.interval)
                    cell = percent(reduction.reduction, reduction.interval, digits=0) if reduction else ""
                    rows.append([str(each.layer), str(each.clusters), kind, system, ued, cell])
    names = ["layer", "K", "change", "quantizer", "UED, %"]
    last = Column("reduction, %", numeric=True, interval="95 %")
    return Table([*names, last], rows, "By change")


def quality_table(report: InvariantReport) -> Table:
    """ABX and statistics of every quantizer."""
    rows = [
        [str(each.layer), str(each.clusters), system, *_quality(result)]
        for each in report.comparisons
        for system, result in in_order(each)
    ]
    ways = [Column(f"{kind} {way}", numeric=True) for kind in ("ABX", "dense") for way in WAYS]
    columns: list[Column | str] = ["layer", "K", "quantizer", *ways, "units/s", "perplexity", "bit/s", "unused"]
    return Table(columns, rows, "ABX error in percent, and statistics of clean units")


def _quality(result: SystemResult) -> list[Any]:
    scores = [scores.get(way) for scores in (result.abx, result.abx_dense) for way in WAYS]
    numbers = result.statistics
    return [
        *(percent(score.error, score.interval) if score else "" for score in scores),
        Value(numbers.units_per_second),
        Value(numbers.perplexity, digits=0),
        Value(numbers.bits_per_second, digits=0),
        numbers.unused,
    ]


def abx_table(report: InvariantReport) -> Table:
    """By how many points the ABX error of each lies above the mean of k-means, with a paired interval."""
    names = [f"{kind}{way}" for kind in ("", "dense ") for way in WAYS]
    rows = [
        [
            str(each.layer),
            str(each.clusters),
            system,
            *(
                percent(d.difference, d.interval, signed=True) if d else ""
                for d in map(each.abx_differences[system].get, names)
            ),
        ]
        for each in report.comparisons
        for system, _ in in_order(each)
        if system in each.abx_differences
    ]
    columns: list[Column | str] = ["layer", "K", "quantizer", *(Column(name, numeric=True) for name in names)]
    return Table(columns, rows, "ABX error above the mean of k-means, in points, paired")


def markdown(report: InvariantReport) -> str:
    """All tables."""
    return (
        f"{report.encoder}, {report.utterances} utterances ({report.seconds / 60:.1f} minutes), {_speakers(report)}, "
        f"{report.word_tokens} word tokens.\n\n{distances_table(report).markdown()}\n"
        f"{quality_table(report).markdown()}\n{abx_table(report).markdown()}"
    )


def _speakers(report: InvariantReport) -> str:
    unnamed = f" ({report.unnamed} utterances name none)" if report.unnamed else ""
    return f"{report.speakers} speakers{unnamed}"


def write_invariant_units_page(path: Path | str, report: InvariantReport, pictures: Sequence[UnitPicture]) -> Path:
    """The page with the tables and pictures."""
    return write_page(
        path,
        "invariant_units.html",
        title="Invariant units",
        styles=["unit_picture.css"],
        report=report,
        speakers=_speakers(report),
        distances=distances_table(report),
        quality=quality_table(report),
        abx=abx_table(report),
        pictures=map(unit_figure, pictures),
    )
