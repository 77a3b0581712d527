"""The tables of stage 6 in Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from speechkit.augment.perturbations import KINDS
from speechkit.pipeline import Context

from .stages import BASELINE, CLEAN

if TYPE_CHECKING:
    from speechkit.data.records import Utterance
    from speechkit.report.unit_picture import UnitPicture

    from .evaluation import Comparison, InvariantReport, SystemResult

HEAD = ("layer", "K", "change", "quantizer", "UED", "reduction", "95 %")


def table_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """By change and quantizer: the distance with its interval, the reduction from k-means and its interval."""
    rows: list[tuple[str, ...]] = []
    known = comparison.systems[BASELINE].ued.scores
    for kind in [*(kind for kind in KINDS if kind in known), "overall", "floor"]:
        for system, result in in_order(comparison):
            score = getattr(result.ued, kind) if kind in ("overall", "floor") else result.ued.scores[kind]
            if score is None:
                continue
            reduction = comparison.reductions.get(system, {}).get(kind)
            rows.append(
                (
                    str(comparison.layer),
                    str(comparison.clusters),
                    kind,
                    system,
                    f"{100 * score.ued:.1f} ({100 * score.interval.low:.1f}–{100 * score.interval.high:.1f})",
                    f"{100 * reduction.reduction:.0f} %" if reduction else "",
                    f"{100 * reduction.interval.low:.0f} to {100 * reduction.interval.high:.0f} %" if reduction else "",
                )
            )
    return rows


def in_order(comparison: Comparison) -> list[tuple[str, SystemResult]]:
    """The quantizers: the baselines first, then teacher by teacher what teaches and what has learnt."""
    from .evaluation import is_baseline

    def position(system: str) -> tuple[bool, str, bool]:
        teacher = "" if is_baseline(system) else system.rpartition(", ")[2]
        return not is_baseline(system), teacher, not system.startswith(BASELINE)

    return sorted(comparison.systems.items(), key=lambda each: position(each[0]))


def quality_rows(report: InvariantReport) -> list[tuple[str, ...]]:
    """ABX and statistics of every quantizer."""
    rows = []
    for each in report.comparisons:
        for system, result in in_order(each):
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


ABX_HEAD = ("layer", "K", "quantizer", "within", "across", "dense within", "dense across")


def abx_rows(report: InvariantReport) -> list[tuple[str, ...]]:
    """By how many points the ABX error of each lies above the mean of k-means, with a paired interval."""
    return [
        (
            str(each.layer),
            str(each.clusters),
            system,
            *(
                f"{100 * d.difference:+.1f} ({100 * d.interval.low:+.1f} to {100 * d.interval.high:+.1f})" if d else ""
                for d in map(each.abx_differences[system].get, ABX_HEAD[3:])
            ),
        )
        for each in report.comparisons
        for system, _ in in_order(each)
        if system in each.abx_differences
    ]


def markdown(report: InvariantReport) -> str:
    """All tables."""
    from speechkit.report.table import markdown_table

    parts = [
        f"{report.encoder}, {report.utterances} utterances ({report.seconds / 60:.1f} minutes), {_speakers(report)}, "
        f"{report.word_tokens} word tokens.\n",
        markdown_table(HEAD, [row for each in report.comparisons for row in table_rows(each)]),
        markdown_table(QUALITY_HEAD, quality_rows(report)),
        markdown_table(ABX_HEAD, abx_rows(report)),
    ]
    return "\n".join(parts)


def _speakers(report: InvariantReport) -> str:
    unnamed = f" ({report.unnamed} utterances name none)" if report.unnamed else ""
    return f"{report.speakers} speakers{unnamed}"


def write_report(
    context: Context,
    report: InvariantReport,
    rows: Mapping[str, Utterance],
    words: Mapping[str, Utterance],
    frames: Mapping[str, Mapping[str, Any]],
    clusters: int,
) -> None:
    """The page with the tables and some pictures.

    Args:
        context: of the stage.
        report: what was measured.
        rows: test recordings by id.
        words: those with word alignments by id.
        frames: units of all frames by quantizer, kind and id, for quantizers of ``clusters`` units.
        clusters: K of these.
    """
    from speechkit.report.markup import element
    from speechkit.report.page import render_page, write_page
    from speechkit.report.table import table
    from speechkit.report.unit_picture import picture_styles, unit_figure

    pictures = draw(context, rows, words, frames, clusters)
    lead = (
        f"{report.encoder}: {report.utterances} utterances ({report.seconds / 60:.1f} minutes) of {_speakers(report)}. "
        "No training recording of this run names one of these speakers or is a piece of the same audio. Unit edit "
        "distance in percent, with 95 % intervals."
    )
    body = element(
        "main",
        element("h1", "Invariant units"),
        element("p", lead, class_="lead"),
        element(
            "section",
            element("h2", "Unit edit distance"),
            table(HEAD, [row for each in report.comparisons for row in table_rows(each)], caption="By change"),
        ),
        element(
            "section",
            element("h2", "What the units tell"),
            table(QUALITY_HEAD, quality_rows(report), caption="ABX error in percent, and statistics of clean units"),
            table(ABX_HEAD, abx_rows(report), caption="ABX error above the mean of k-means, in points, paired"),
        ),
        element("section", element("h2", "Sound, units and words"), [unit_figure(each) for each in pictures]),
    )
    write_page(context.output("report.html"), render_page("Invariant units", [body], styles=[picture_styles()]))


def draw(
    context: Context,
    rows: Mapping[str, Utterance],
    words: Mapping[str, Utterance],
    frames: Mapping[str, Mapping[str, Any]],
    clusters: int,
) -> list[UnitPicture]:
    """Pictures of the first recordings with words, or of the first."""
    from speechkit.data.audio import read_waveform
    from speechkit.report.unit_picture import Ribbon, UnitPicture

    config = context.config
    kind = config.picture_kind if config.picture_kind in config.test_kinds else CLEAN
    first = next(iter(frames.values()))[CLEAN]
    chosen = sorted(first, key=lambda name: (name not in words, abs(rows[name].duration - 5.0)))[: config.pictures]
    pictures = []
    for name in chosen:
        row = rows[name]
        tier = ((words[name].alignment if name in words else None) or {}).get("word", [])
        spans = [(item.symbol, item.start, item.start + item.duration) for item in tier]
        pictures.append(
            UnitPicture(
                name,
                read_waveform(row, context.inputs["test_manifest"]),
                16_000,
                [
                    Ribbon(f"{system}, {version}", units[version][name])
                    for system, units in frames.items()
                    for version in dict.fromkeys((CLEAN, kind))
                ],
                spans,
                [(start, end) for _, start, end in spans],
                f"K = {clusters}; equal colours are equal units of one quantizer. Lines are edges of words.",
            )
        )
    return pictures
