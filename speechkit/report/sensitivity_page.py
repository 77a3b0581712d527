"""The page of a sensitivity analysis: score against word error rate, the points, and entity errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from speechkit.report.page import write_page
from speechkit.report.results import Column, Strong, Table, Value, percent
from speechkit.report.slue_page import entity_tables, settings_table
from speechkit.report.svg import COLOURS, Plot, Scale
from speechkit.slue.metrics.measures import Measure
from speechkit.slue.sensitivity import Sensitivity


def render_sensitivity_page(out_path: Path | str, analysis: Sensitivity, *, title: str | None = None) -> Path:
    """Write the page and return its path."""
    oracle = _percent(next(p for p in analysis.points if p.kind == "oracle").score)
    around = analysis.slope.interval
    low, high = (None, None) if around is None else (around.low, around.high)
    slope = Value(analysis.slope.value, low, high, digits=2, signed=True)
    return write_page(
        out_path,
        "sensitivity.html",
        title=title or f"{analysis.title}: sensitivity to recognition errors",
        styles=["score.css"],
        analysis=analysis,
        figures=[
            (f"points of {analysis.measure.replace('_', ' ')} a point of WER", slope.number, "", slope.ends()),
            ("with the reference text", f"{oracle.number} %", "", oracle.ends() or "–"),
            (
                "rank correlation with WER",
                Value(analysis.spearman, digits=2).number,
                "",
                f"{len(analysis.points)} points",
            ),
            (
                "utterances",
                f"{analysis.utterances:,}",
                "",
                f"{analysis.units:,} units drawn {analysis.resamples:,} times",
            ),
        ],
        plot=sensitivity_plot(analysis),
        points=points_table(analysis, "perfect understanding"),
        entities=entity_tables(analysis.entities),
        settings=settings_table(
            ("normaliser of word errors", f"{analysis.normalizer.name} {analysis.normalizer.version}"),
            (
                "noise fitted on",
                f"{analysis.fitted_on}: {analysis.fitted_words:,} words, WER {100 * analysis.fitted_wer:.1f} %",
            ),
            ("drawn", f"{analysis.units:,} units, {analysis.resamples:,} times, seed {analysis.seed}"),
            *(("note", note) for note in analysis.notes),
        ),
    )


def _percent(measure: Measure | None, **shown: Any) -> Value:
    return percent(None) if measure is None else percent(measure.value, measure.interval, **shown)


def points_table(analysis: Sensitivity, perfect: str, *, signed: bool = True) -> Table:
    """A row per text by word error rate; real recognisers are bold, and ``perfect`` is a column header."""
    rows: list[list[Any]] = [
        [
            Strong(p.name) if p.kind == "system" else p.name,
            _percent(p.wer),
            _percent(p.score),
            percent(p.perfect.value if p.perfect else None),
            _percent(p.above_curve, signed=signed) if p.above_curve else "",
        ]
        for p in sorted(analysis.points, key=lambda p: p.wer.value or 0.0)
    ]
    rates = [Column(f"{name}, %", interval="interval") for name in ("WER", analysis.measure)]
    return Table(["text", *rates, Column(perfect, True), Column("above the curve", True)], rows, "Points")


def sensitivity_plot(analysis: Sensitivity) -> Markup:
    """The text model on noisy text as a line with a band, real recognisers as dots with whiskers."""
    line = sorted((p for p in analysis.points if p.kind != "system"), key=lambda p: p.wer.value or 0.0)
    right = max(max(p.wer.value or 0.0, p.wer.interval.high if p.wer.interval else 0.0) for p in analysis.points)
    tops = [p.score.interval.high if p.score.interval else p.score.value or 0.0 for p in analysis.points]
    tops += [p.perfect.value or 0.0 for p in analysis.points if p.perfect]
    plot = Plot(Scale(0, 100 * right * 1.03 or 1.0), Scale(0, 100 * min(1.0, max(tops) * 1.06) or 1.0))

    def at(wer: float | None, score: float | None) -> tuple[float, float]:
        return 100 * (wer or 0.0), 100 * (score or 0.0)

    banded = [(p.wer.value, p.score.interval) for p in line if p.score.interval is not None]
    if len(banded) > 1:
        upper = [at(wer, interval.high) for wer, interval in banded]
        lower = [at(wer, interval.low) for wer, interval in reversed(banded)]
        plot.line(upper + lower, "band", closed=True)
    plot.line([at(p.wer.value, p.score.value) for p in line], "line")
    perfect = [at(p.wer.value, p.perfect.value) for p in line if p.perfect]
    if len(perfect) > 1:
        plot.line(perfect, "line perfect")
    for index, p in enumerate(p for p in analysis.points if p.kind == "system"):
        style, (wer, score) = f"c{index % COLOURS}", at(p.wer.value, p.score.value)
        if p.wer.interval is not None and p.score.interval is not None:
            plot.line(
                [at(p.wer.interval.low, p.score.value), at(p.wer.interval.high, p.score.value)], f"whisker {style}"
            )
            plot.line(
                [at(p.wer.value, p.score.interval.low), at(p.wer.value, p.score.interval.high)], f"whisker {style}"
            )
        plot.dots([(wer, score)], f"dot {style}", f"{p.name}: WER {wer:.1f} %, {score:.1f} %")
    return plot.draw(
        label=f"{analysis.measure} against word error rate",
        x_title="word error rate, %",
        y_title=f"{analysis.measure.replace('_', ' ')}, %",
        x_count=8,
    )
