"""Tables and page of quantizers: unit statistics, agreement with labels, and acoustic BPE."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechkit.report.page import write_page
from speechkit.report.results import Column, Table, Value, percent
from speechkit.report.svg import curve
from speechkit.report.unit_picture import UnitPicture, unit_figure
from speechkit.units.records import System, SystemScore, UnitsReport

NGRAMS = ("unigram", "bigram", "trigram")


def units_table(report: UnitsReport) -> Table:
    """A row per quantizer, and per codebook of a stacked one."""
    names = ["kept", "perplexity", "dead", "top unit", "units/s", "bit/s"]
    names += ["MI, bits", "NMI", "by chance", f"{report.tier} purity", "unit purity"] if report.tier else []
    columns: list[Column | str] = ["layer", "kind", *(Column(name, numeric=True) for name in ("K", *names))]
    return Table(columns, [_row(score, report.tier) for score in report.scores], "By quantizer")


def _row(score: SystemScore, tier: str | None) -> list[Any]:
    health, agreement = score.health, score.agreement
    row = [
        *_system(score.system),
        "" if score.explained is None else percent(score.explained, unit=" %"),
        Value(health.perplexity),
        health.dead,
        percent(health.top_share, unit=" %"),
        Value(health.units_per_second),
        Value(health.bits_per_second, digits=0),
    ]
    if not tier:
        return row
    if agreement is None:
        return [*row, *[""] * 5]
    shares = (
        agreement.normalized_information,
        agreement.chance_information,
        agreement.label_purity,
        agreement.unit_purity,
    )
    return [*row, Value(agreement.mutual_information, digits=2), *(Value(share, digits=3) for share in shares)]


def _system(system: System) -> list[str]:
    kind = system.kind if system.codebook is None else f"{system.kind}, {system.codebook + 1}"
    return [str(system.layer), kind, str(system.clusters)]


def curves_table(report: UnitsReport) -> Table:
    """A row per point of each curve, with a column per n-gram order."""
    points = [(curve.system, point) for curve in report.curves for point in curve.points]
    orders = max((len(point.ngram_bits) for _, point in points), default=0)
    ngrams = [*NGRAMS, *(f"{order}-gram" for order in range(len(NGRAMS) + 1, orders + 1))][:orders]
    rows = [
        [
            *_system(system),
            str(point.tokens),
            Value(point.train, digits=2),
            Value(point.test, digits=2),
            Value(point.per_second),
            Value(point.bits_per_second, digits=0),
            *(Value(bits, digits=2) for bits in point.ngram_bits),
            *[""] * (orders - len(point.ngram_bits)),
        ]
        for system, point in points
    ]
    names = ["K", "tokens", "units a token, training", "units a token, test", "tokens/s", "bit/s"]
    names += [f"bits a unit, {name}" for name in ngrams]
    return Table(["layer", "kind", *(Column(name, numeric=True) for name in names)], rows, "Compression")


def lead(report: UnitsReport) -> str:
    """Introductory text: test data and measures."""
    speakers = f"{report.speakers} speakers" + (f" ({report.unnamed} recordings name none)" if report.unnamed else "")
    frames = max((score.agreement.frames for score in report.scores if score.agreement), default=0)
    agreed = f" MI, NMI and purity: against the tier {report.tier} of {frames:,} frames." if report.tier else ""
    return (
        f"{report.recordings} test recordings ({report.seconds / 60:.1f} minutes), {speakers}. "
        "No training recording names one of these speakers or is a piece of the same audio. Kept: share of the "
        f"variance of the frames.{agreed}"
    )


def markdown(report: UnitsReport) -> str:
    """Both tables."""
    return f"{lead(report)}\n\n{units_table(report).markdown()}\n{curves_table(report).markdown()}"


def write_units_page(path: Path | str, report: UnitsReport, pictures: Sequence[UnitPicture], *, clusters: int) -> Path:
    """Write the page with both tables, the curve of the first quantizer of ``clusters`` units, and pictures."""
    chosen = next((candidate for candidate in report.curves if candidate.system.clusters == clusters), report.curves[0])
    return write_page(
        path,
        "units.html",
        title="Discrete units",
        styles=["unit_picture.css"],
        lead=lead(report),
        table=units_table(report),
        system=chosen.system,
        plot=curve(
            [(point.tokens, point.test) for point in chosen.points],
            label=f"Units for each token of test speech, {chosen.system.name}",
            x_title="tokens",
            y_title="units for each token",
        ),
        curves=curves_table(report),
        pictures=map(unit_figure, pictures),
    )
