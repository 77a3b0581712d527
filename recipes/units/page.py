"""The tables of stage 6 in Markdown and HTML, with pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from speechkit.pipeline import Context

if TYPE_CHECKING:
    from speechkit.data.records import Utterance
    from speechkit.report.unit_picture import UnitPicture

    from .scores import SystemScore, UnitsReport

CURVE_HEAD = ("layer", "kind", "K", "tokens", "units a token, training", "units a token, test", "tokens/s", "bit/s")
NGRAMS = ("unigram", "bigram", "trigram")
PICTURE_SECONDS = 5.0


def head(tier: str | None) -> tuple[str, ...]:
    """Of the table of units."""
    told = ("MI, bits", "NMI", "by chance", f"{tier} purity", "unit purity") if tier else ()
    first = ("layer", "kind", "K", "kept", "perplexity", "dead", "top unit", "units/s", "bit/s")
    return (*first, *told)


def rows_of(report: UnitsReport) -> list[tuple[str, ...]]:
    """A row for each quantizer and each codebook of a stacked one."""
    return [_row(each, report.tier) for each in report.scores]


def _row(each: SystemScore, tier: str | None) -> tuple[str, ...]:
    health, agreement = each.health, each.agreement
    told: tuple[str, ...] = ()
    if tier:
        told = ("", "", "", "", "")
    if agreement is not None:
        told = (
            f"{agreement.mutual_information:.2f}",
            f"{agreement.normalized_information:.3f}",
            f"{agreement.chance_information:.3f}",
            f"{agreement.label_purity:.3f}",
            f"{agreement.unit_purity:.3f}",
        )
    return (
        str(each.system.layer),
        _kind(each.system),
        str(each.system.clusters),
        "" if each.explained is None else f"{100 * each.explained:.1f} %",
        f"{health.perplexity:.1f}",
        str(health.dead),
        f"{100 * health.top_share:.1f} %",
        f"{health.units_per_second:.1f}",
        f"{health.bits_per_second:.0f}",
        *told,
    )


def _kind(system: Any) -> str:
    return system.kind if system.codebook is None else f"{system.kind}, {system.codebook + 1}"


def curve_head(report: UnitsReport) -> tuple[str, ...]:
    """Of the table of curves: a column more for the bits of each n-gram."""
    orders = max((len(point.ngram_bits) for each in report.curves for point in each.points), default=0)
    names = [*NGRAMS, *(f"{order}-gram" for order in range(len(NGRAMS) + 1, orders + 1))][:orders]
    return (*CURVE_HEAD, *(f"bits a unit, {name}" for name in names))


def curve_rows(report: UnitsReport) -> list[tuple[str, ...]]:
    """A row for each point of each curve."""
    return [
        (
            str(each.system.layer),
            _kind(each.system),
            str(each.system.clusters),
            str(point.tokens),
            f"{point.train:.2f}",
            f"{point.test:.2f}",
            f"{point.per_second:.1f}",
            f"{point.bits_per_second:.0f}",
            *(f"{bits:.2f}" for bits in point.ngram_bits),
        )
        for each in report.curves
        for point in each.points
    ]


def markdown(report: UnitsReport) -> str:
    """Both tables."""
    from speechkit.report.table import markdown_table

    return "\n".join(
        [
            f"{lead(report)}\n",
            markdown_table(head(report.tier), rows_of(report)),
            markdown_table(curve_head(report), curve_rows(report)),
        ]
    )


def lead(report: UnitsReport) -> str:
    """What was judged."""
    speakers = f"{report.speakers} speakers" + (f" ({report.unnamed} recordings name none)" if report.unnamed else "")
    frames = max((each.agreement.frames for each in report.scores if each.agreement), default=0)
    told = f" MI, NMI and purity: against the tier {report.tier} of {frames:,} frames." if report.tier else ""
    return (
        f"{report.recordings} test recordings ({report.seconds / 60:.1f} minutes), {speakers}. "
        "No training recording names one of these speakers or is a piece of the same audio. Kept: share of the "
        f"variance of the frames.{told}"
    )


def _unbroken(rows: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """The same with hyphens at which no line ends."""
    return [tuple(cell.replace("-", "\u2011") for cell in row) for row in rows]


def write_report(
    context: Context,
    report: UnitsReport,
    rows: Mapping[str, Utterance],
    aligned: Mapping[str, Utterance],
    drawn: Mapping[str, Mapping[str, Any]],
    clusters: int,
) -> None:
    """The page with both tables, the curve of one size of K and some pictures.

    Args:
        context: of the stage.
        report: what was measured.
        rows: test recordings by id.
        aligned: those with alignments.
        drawn: units of all frames by quantizer and id, for quantizers of ``clusters`` units.
        clusters: K of these.
    """
    from speechkit.report.markup import element
    from speechkit.report.page import render_page, write_page
    from speechkit.report.svg import curve
    from speechkit.report.table import table
    from speechkit.report.unit_picture import picture_styles, unit_figure

    names, heads = head(report.tier), curve_head(report)
    chosen = next((each for each in report.curves if each.system.clusters == clusters), report.curves[0])
    line = curve(
        [(point.tokens, point.test) for point in chosen.points],
        label=f"Units for each token of test speech, {chosen.system.name}",
        x_title="tokens",
        y_title="units for each token",
    )
    body = element(
        "main",
        element("h1", "Discrete units"),
        element("p", lead(report), class_="lead"),
        element(
            "section",
            element("h2", "What the units tell"),
            table(names, _unbroken(rows_of(report)), caption="By quantizer", numeric=range(2, len(names))),
        ),
        element(
            "section",
            element("h2", "Acoustic BPE"),
            element("p", f"Test speech, {chosen.system.name}."),
            line,
            table(heads, _unbroken(curve_rows(report)), caption="Compression", numeric=range(2, len(heads))),
        ),
        element(
            "section",
            element("h2", "Sound, units and words"),
            [unit_figure(each) for each in _pictures(context, rows, aligned, drawn, clusters)],
        ),
    )
    write_page(context.output("report.html"), render_page("Discrete units", [body], styles=[picture_styles()]))


def _pictures(
    context: Context,
    rows: Mapping[str, Utterance],
    aligned: Mapping[str, Utterance],
    drawn: Mapping[str, Mapping[str, Any]],
    clusters: int,
) -> list[UnitPicture]:
    """Recordings of about `PICTURE_SECONDS`, those with alignments first."""
    from speechkit.data.audio import read_waveform
    from speechkit.report.unit_picture import Ribbon, UnitPicture

    config = context.config
    heard = next(iter(drawn.values()))
    order = sorted(heard, key=lambda name: (name not in aligned, abs(rows[name].duration - PICTURE_SECONDS), name))
    pictures = []
    for name in order[: config.pictures]:
        row = rows[name]
        tiers = aligned.get(name, row).alignment or {}
        spans, edges = (
            [(item.symbol, item.start, item.start + item.duration) for item in tiers.get(tier, [])]
            for tier in ("word", config.tier)
        )
        pictures.append(
            UnitPicture(
                name,
                read_waveform(row, context.inputs["test_manifest"]),
                16_000,
                [Ribbon(system, units[name]) for system, units in drawn.items()],
                spans,
                [(start, end) for _, start, end in edges],
                f"K = {clusters}; equal colours are equal units of one quantizer."
                + (f" Lines are edges of the tier {config.tier}." if edges else ""),
            )
        )
    return pictures
