"""Tables and the page of invariant units: unit edit distances, ABX and statistics compared with k-means."""

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
    """UED by perturbation and quantizer, and its reduction compared with k-means, each with its interval."""
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
                    rows.append([str(each.clusters), kind, system, ued, cell])
    names = ["K", "perturbation", "quantizer", "UED, %"]
    last = Column("reduction, %", numeric=True, interval="95 %")
    return Table([*names, last], rows, "By perturbation")


def quality_table(report: InvariantReport) -> Table:
    """ABX errors and unit statistics of every quantizer."""
    kinds = _abx_kinds(report)
    rows = [
        [str(each.clusters), system, *_quality(result, kinds)]
        for each in report.comparisons
        for system, result in in_order(each)
    ]
    ways = [Column(f"{kind} {way}", numeric=True) for kind in kinds for way in WAYS]
    columns: list[Column | str] = ["K", "quantizer", *ways, "units/s", "perplexity", "bit/s", "unused"]
    return Table(columns, rows, "ABX error in percent, and statistics of clean units")


def _abx_kinds(report: InvariantReport) -> list[str]:
    """Kinds of ABX that were measured."""
    return ["words", "dense", *(["phones"] if report.phone_tokens else [])]


def _quality(result: SystemResult, kinds: Sequence[str]) -> list[Any]:
    tables: dict[str, Any] = {"words": result.abx, "dense": result.abx_dense, "phones": result.abx_phones}
    scores = [tables[kind].get(way) for kind in kinds for way in WAYS]
    numbers = result.statistics
    return [
        *(percent(score.error, score.interval) if score else "" for score in scores),
        Value(numbers.units_per_second),
        Value(numbers.perplexity, digits=0),
        Value(numbers.bits_per_second, digits=0),
        numbers.unused,
    ]


def abx_table(report: InvariantReport) -> Table:
    """Difference of ABX errors from the mean of k-means, in points, with paired intervals."""
    names = {
        f"{kind} {way}": way if kind == "words" else f"{kind} {way}" for kind in _abx_kinds(report) for way in WAYS
    }
    rows = [
        [
            str(each.clusters),
            system,
            *(
                percent(d.difference, d.interval, signed=True) if d else ""
                for d in map(each.abx_differences[system].get, names.values())
            ),
        ]
        for each in report.comparisons
        for system, _ in in_order(each)
        if system in each.abx_differences
    ]
    columns: list[Column | str] = ["K", "quantizer", *(Column(name, numeric=True) for name in names)]
    return Table(columns, rows, "ABX error less the mean of k-means, in points, paired")


def markdown(report: InvariantReport) -> str:
    """All tables."""
    return (
        f"{report.encoder}, layer {report.layer}, {report.utterances} utterances ({report.seconds / 60:.1f} minutes), "
        f"{_speakers(report)}, {_tokens(report)}.\n\n{distances_table(report).markdown()}\n"
        f"{quality_table(report).markdown()}\n{abx_table(report).markdown()}"
    )


def _tokens(report: InvariantReport) -> str:
    """How many tokens ABX compares, and what intervals of phones are over."""
    if report.without_phones:
        return f"{report.word_tokens} word tokens, no ABX of phones ({report.without_phones})"
    units = {
        score.unit
        for each in report.comparisons
        for result in each.systems.values()
        for score in result.abx_phones.values()
    }
    over = f" (intervals over {'s and '.join(sorted(units))}s)" if units else ""
    return f"{report.word_tokens} word tokens, {report.phone_tokens} phones{over}"


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
        tokens=_tokens(report),
        distances=distances_table(report),
        quality=quality_table(report),
        abx=abx_table(report),
        pictures=map(unit_figure, pictures),
    )
