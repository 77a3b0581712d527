"""The page of a sensitivity analysis: the score against the word error rate, the points, and what entities became."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from speechkit.io.atomic import write_bytes
from speechkit.report.entity_section import entity_section
from speechkit.report.markup import Child, Markup, data_block, element
from speechkit.report.page import asset, render_page
from speechkit.report.svg import HEIGHT, WIDTH, Scale, frame, nice_ticks
from speechkit.report.table import table
from speechkit.slue.metrics.measures import Measure
from speechkit.slue.sensitivity import Point, Sensitivity, shown_interval

STYLE = (
    ".sensitivity .perfect{stroke-dasharray:5 4;fill:none}.sensitivity .band{opacity:.18;stroke:none;fill:currentColor}"
)


def render_sensitivity_page(out_path: Path | str, found: Sensitivity, *, title: str | None = None) -> Path:
    """Write the page and return its path."""
    heading = title or f"{found.title}: sensitivity to recognition errors"
    body: list[Child] = [
        element(
            "main",
            _headline(heading, found),
            _curve(found),
            _points(found),
            entity_section(found.entities),
            _settings(found),
        ),
        data_block("sensitivity", found),
    ]
    write_bytes(out_path, render_page(heading, body, styles=[asset("score.css"), STYLE]).encode())
    return Path(out_path)


def _percent(measure: Measure | None) -> str:
    return "–" if measure is None or measure.value is None else f"{100 * measure.value:.1f}"


def _headline(heading: str, found: Sensitivity) -> Markup:
    oracle = next(p for p in found.points if p.kind == "oracle")
    slope = "–" if found.slope.value is None else f"{found.slope.value:+.2f}"
    interval = found.slope.interval
    around = "" if interval is None else f"{interval.low:+.2f} to {interval.high:+.2f}"
    correlation = "–" if found.spearman is None else f"{found.spearman:.2f}"
    figures = [
        (f"points of {found.measure.replace('_', ' ')} a point of WER", slope, around),
        ("with the reference text", f"{_percent(oracle.score)} %", shown_interval(oracle.score.interval)),
        ("rank correlation with WER", correlation, f"{len(found.points)} points"),
        ("utterances", f"{found.utterances:,}", f"{found.units:,} units drawn {found.resamples:,} times"),
    ]
    cells = [
        element("div", element("dt", name), element("dd", value), element("dd", note, class_="note"))
        for name, value, note in figures
    ]
    return element(
        "header",
        element("p", "speechkit slue sensitivity", class_="overline"),
        element("h1", heading),
        element("dl", cells, class_="figures"),
    )


def _section(name: str, lead: str, *content: Child) -> Markup:
    return element("section", element("h2", name), element("p", lead, class_="lead"), content)


def _curve(found: Sensitivity) -> Markup:
    dashed = "The dashed line is a perfect understanding of that text. " if any(p.perfect for p in found.points) else ""
    lead = (
        "The line is the text model on reference text with fitted noise, the band its interval; dots are real "
        f"recognisers with the intervals of both rates. {dashed}Noise was fitted on {found.fitted_on or 'pairs'} "
        f"({found.fitted_words:,} words, WER {100 * found.fitted_wer:.1f} %)."
    )
    plot = element("div", sensitivity_plot(found), class_="card sensitivity")
    return _section("Score against word error rate", lead, plot)


def sensitivity_plot(found: Sensitivity) -> Markup:
    """The curve as SVG."""
    line = sorted((p for p in found.points if p.kind != "system"), key=lambda p: p.wer.value or 0.0)
    right = max(max(p.wer.value or 0.0, p.wer.interval.high if p.wer.interval else 0.0) for p in found.points)
    tops = [p.score.interval.high if p.score.interval else p.score.value or 0.0 for p in found.points]
    tops += [p.perfect.value or 0.0 for p in found.points if p.perfect]
    x, y = Scale(0, 100 * right * 1.03 or 1.0), Scale(0, 100 * min(1.0, max(tops) * 1.06) or 1.0)

    def at(wer: float, score: float) -> tuple[float, float]:
        return x(100 * wer) * WIDTH, HEIGHT * (1 - y(100 * score))

    def path(points: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)

    marks: list[Child] = [
        element("path", class_="grid", d=f"M0 {HEIGHT * (1 - y(t)):.1f}H{WIDTH}", vector_effect="non-scaling-stroke")
        for t in nice_ticks(y.low, y.high)
    ]
    banded = [p for p in line if p.score.interval is not None]
    if len(banded) > 1:
        upper = [at(p.wer.value or 0.0, p.score.interval.high) for p in banded if p.score.interval]
        lower = [at(p.wer.value or 0.0, p.score.interval.low) for p in reversed(banded) if p.score.interval]
        marks.append(element("path", class_="band", d=path(upper + lower) + "Z"))
    points = [at(p.wer.value or 0.0, p.score.value or 0.0) for p in line]
    marks.append(element("path", class_="line", d=path(points), vector_effect="non-scaling-stroke"))
    perfect = [at(p.wer.value or 0.0, p.perfect.value or 0.0) for p in line if p.perfect]
    if len(perfect) > 1:
        marks.append(element("path", class_="line perfect", d=path(perfect), vector_effect="non-scaling-stroke"))
    for index, p in enumerate(p for p in found.points if p.kind == "system"):
        marks += _system(p, index, at)
    return frame(
        marks,
        label=f"{found.measure} against word error rate",
        x_ticks=[(x(t), f"{t:g}") for t in nice_ticks(x.low, x.high, 8)],
        y_ticks=[(y(t), f"{t:g}") for t in nice_ticks(y.low, y.high)],
        x_title="word error rate, %",
        y_title=f"{found.measure.replace('_', ' ')}, %",
    )


def _system(p: Point, index: int, at: Callable[[float, float], tuple[float, float]]) -> list[Child]:
    style = f"c{index % 6}"
    wer, score = p.wer.value or 0.0, p.score.value or 0.0
    a, b = at(wer, score)
    marks: list[Child] = []
    if p.wer.interval is not None and p.score.interval is not None:
        left, right = (at(w, score)[0] for w in (p.wer.interval.low, p.wer.interval.high))
        low, high = (at(wer, s)[1] for s in (p.score.interval.low, p.score.interval.high))
        cross = f"M{left:.1f} {b:.1f}H{right:.1f}M{a:.1f} {low:.1f}V{high:.1f}"
        marks.append(element("path", class_=f"whisker {style}", d=cross, vector_effect="non-scaling-stroke"))
    note = element("title", f"{p.name}: WER {100 * wer:.1f} %, {100 * score:.1f} %")
    dot = f"M{a:.1f} {b:.1f}h0"
    return [*marks, element("path", note, class_=f"dot {style}", d=dot, vector_effect="non-scaling-stroke")]


def _points(found: Sensitivity) -> Markup:
    rows: list[list[Child]] = []
    for p in sorted(found.points, key=lambda p: p.wer.value or 0.0):
        gap = "–"
        if p.above_curve is not None and p.above_curve.value is not None:
            gap = f"{100 * p.above_curve.value:+.1f} ({shown_interval(p.above_curve.interval)})"
        rows.append(
            [
                element("strong", p.name) if p.kind == "system" else p.name,
                _percent(p.wer),
                shown_interval(p.wer.interval),
                _percent(p.score),
                shown_interval(p.score.interval),
                _percent(p.perfect),
                gap,
            ]
        )
    head = ["text", "WER, %", "interval", f"{found.measure}, %", "interval", "perfect understanding", "above the curve"]
    lead = "A recogniser above the curve makes errors that hurt the task less than the fitted noise at its rate does."
    return _section(
        "Points", lead, element("div", table(head, rows, caption="Points", numeric=range(1, 7)), class_="card")
    )


def _settings(found: Sensitivity) -> Markup:
    facts: list[list[Child]] = [
        ["normaliser of word errors", f"{found.normalizer.name} {found.normalizer.version}"],
        ["noise fitted on", f"{found.fitted_on}: {found.fitted_words:,} words, WER {100 * found.fitted_wer:.1f} %"],
        ["drawn", f"{found.units:,} units, {found.resamples:,} times, seed {found.seed}"],
    ]
    facts += [["note", note] for note in found.notes]
    body = table(["what", "how"], facts, caption="Settings and notes")
    return _section("How it was made", "All of it stands in sensitivity.json.", element("div", body, class_="card"))
