"""The table of stage 6 in Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from speechkit.pipeline import Context

if TYPE_CHECKING:
    from recipes.units_invariant.evaluation import Comparison, InvariantReport
    from speechkit.data.records import Utterance

HEAD = ("layer", "K", "change", "k-means", "invariant", "reduction", "95 %")


def table_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Change, both distances with intervals, the reduction and its interval."""
    first, second = comparison.systems.values()
    rows = []
    for kind in [*first.ued.scores, "overall", "floor"]:
        one, other = (
            getattr(each.ued, kind) if kind in ("overall", "floor") else each.ued.scores[kind]
            for each in (first, second)
        )
        if one is None or other is None:
            continue
        reduction = comparison.reduction.get(kind)
        rows.append(
            (
                str(comparison.layer),
                str(comparison.clusters),
                kind,
                *(f"{100 * s.ued:.1f} ({100 * s.interval.low:.1f}–{100 * s.interval.high:.1f})" for s in (one, other)),
                f"{100 * reduction.reduction:.0f} %" if reduction else "",
                f"{100 * reduction.interval.low:.0f} to {100 * reduction.interval.high:.0f} %" if reduction else "",
            )
        )
    return rows


def quality_rows(report: InvariantReport) -> list[tuple[str, ...]]:
    """ABX and statistics of every quantizer."""
    rows = []
    for each in report.comparisons:
        for system, result in each.systems.items():
            abx = [
                f"{100 * s.error:.1f} ({100 * s.interval.low:.1f}–{100 * s.interval.high:.1f})" if s else ""
                for scores in (result.abx, result.abx_dense)
                for s in (scores.get("within"), scores.get("across"))
            ]
            numbers = result.statistics
            rows.append(
                (
                    str(each.layer),
                    str(each.clusters),
                    system,
                    *abx,
                    f"{numbers.units_per_second:.1f}",
                    f"{numbers.perplexity:.0f}",
                    f"{numbers.bits_per_second:.0f}",
                    str(numbers.unused),
                )
            )
    return rows


QUALITY_HEAD = (
    "layer", "K", "quantizer", "ABX within", "ABX across", "dense within", "dense across", "units/s", "perplexity",
    "bit/s", "unused",
)  # fmt: skip


def markdown(report: InvariantReport) -> str:
    """Both tables."""
    parts = [
        f"{report.encoder}, {report.utterances} utterances ({report.seconds / 60:.1f} minutes), {report.speakers} "
        f"speakers, {report.word_tokens} word tokens.\n",
        _markdown_table(HEAD, [row for each in report.comparisons for row in table_rows(each)]),
        _markdown_table(QUALITY_HEAD, quality_rows(report)),
    ]
    return "\n".join(parts)


def _markdown_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_report(
    context: Context,
    report: InvariantReport,
    rows: Mapping[str, Utterance],
    words: Mapping[str, Utterance],
    frames: Mapping[str, Mapping[str, Any]],
    clusters: int,
) -> None:
    """The page with both tables."""
    from speechkit.report.markup import element
    from speechkit.report.page import render_page, write_page
    from speechkit.report.table import table

    body = [
        element("h1", "Invariant units"),
        element("p", f"{report.encoder}: {report.utterances} utterances of {report.speakers} speakers."),
        table(HEAD, [row for each in report.comparisons for row in table_rows(each)], caption="Unit edit distance"),
        table(QUALITY_HEAD, quality_rows(report), caption="Word discrimination and statistics"),
    ]
    write_page(context.output("report.html"), render_page("Invariant units", body))
