"""Plots of a comparison: intervals of the systems, speakers, and the matrix of pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from speechkit.metrics.comparison import PairTest, Score, SystemScore, Table
from speechkit.metrics.significance import shown_p
from speechkit.report.markup import Child, Markup, element
from speechkit.report.svg import HEIGHT, WIDTH, Scale, frame, nice_ticks
from speechkit.report.table import table

COLOURS = 6
MOST_SPEAKERS = 80
SIGNIFICANT = 0.05


def percent(rate: float, digits: int = 2) -> str:
    """A rate as a percentage without its sign; an infinite one as the symbol."""
    return f"{100 * rate:.{digits}f}" if math.isfinite(rate) else "∞"


def short(name: str, limit: int = 18) -> str:
    """A name in few letters for an axis."""
    return name if len(name) <= limit else name[: limit - 1] + "…"


def interval_plot(systems: Sequence[SystemScore]) -> Markup | None:
    """A dot with its interval for each system, best rate on top; None where a rate is infinite."""
    rows = sorted(systems, key=lambda s: s.wer.rate)
    ends = [s.wer.rate for s in rows] + [
        e for s in rows if s.wer.interval for e in (s.wer.interval.low, s.wer.interval.high)
    ]
    if not all(map(math.isfinite, ends)) or not rows:
        return None
    room = max(0.002, 0.06 * (max(ends) - min(ends)))
    x = Scale(100 * max(0.0, min(ends) - room), 100 * (max(ends) + room))
    marks: list[Child] = []
    names = []
    order = [s.name for s in systems]
    for index, system in enumerate(rows):
        y = (index + 0.5) / len(rows)
        style = f"c{order.index(system.name) % COLOURS}"
        if system.wer.interval is not None:
            low, high = x(100 * system.wer.interval.low), x(100 * system.wer.interval.high)
            marks.append(_stroke(f"M{low * WIDTH:.1f} {y * HEIGHT:.1f}H{high * WIDTH:.1f}", f"whisker {style}"))
        note = f"{system.name}: {percent(system.wer.rate)} %"
        marks.append(_stroke(f"M{x(100 * system.wer.rate) * WIDTH:.1f} {y * HEIGHT:.1f}h0", f"dot {style}", note))
        names.append((1 - y, short(system.name)))
    ticks = [(x(tick), f"{tick:g}") for tick in nice_ticks(x.low, x.high, 6)]
    plot = frame(
        marks,
        label="Word error rates of the systems with their intervals",
        x_ticks=ticks,
        y_ticks=names,
        x_title="word error rate, %",
        y_title="",
    )
    return element("div", plot, class_="wide-axis rows-plot", data_rows=len(rows))


def parts_plot(systems: Sequence[SystemScore], parts: Sequence[Mapping[str, Score]], *, x_title: str) -> Markup | None:
    """A dot for each system and part (a speaker, say), parts from the lowest rate of the first system."""
    keys = sorted(parts[0], key=lambda key: (parts[0][key].rate, key))
    finite = [key for key in keys if all(math.isfinite(p[key].rate) for p in parts if key in p)]
    shown = finite[-MOST_SPEAKERS:]
    if not shown:
        return None
    y = Scale(0.0, 104 * max(max(p[key].rate for p in parts if key in p) for key in shown) or 1.0)
    lines = [f"M0 {HEIGHT * (1 - y(t)):.1f}H{WIDTH}" for t in nice_ticks(0, y.high, 4)]
    marks: list[Child] = [_stroke("".join(lines), "grid")]
    for index, key in enumerate(shown):
        at = (index + 0.5) / len(shown) * WIDTH
        for number, part in enumerate(parts):
            if key in part:
                note = (
                    f"{systems[number].name}, {key or 'none'}: {percent(part[key].rate)} %, {part[key].tokens:,} words"
                )
                place = f"M{at:.1f} {HEIGHT * (1 - y(100 * part[key].rate)):.1f}h0"
                marks.append(_stroke(place, f"dot c{number % COLOURS}", note))
    every = max(1, math.ceil(len(shown) / 12))
    x_ticks = [((i + 0.5) / len(shown), short(key or "none", 9)) for i, key in enumerate(shown) if i % every == 0]
    y_ticks = [(y(t), f"{t:g}") for t in nice_ticks(0, y.high, 4)]
    hidden = len(keys) - len(shown)
    plot = frame(
        marks,
        label=f"Word error rate by {x_title}",
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        x_title=x_title + (f" ({hidden:,} with lower or infinite rates not drawn)" if hidden else ""),
        y_title="word error rate, %",
    )
    return element("div", legend([s.name for s in systems]), plot)


def legend(names: Sequence[str]) -> Markup:
    """The colour of each system."""
    items = [element("li", element("span", class_=f"swatch b{i % COLOURS}"), name) for i, name in enumerate(names)]
    return element("ul", items, class_="keys")


def pair_matrix(found: Table) -> Markup:
    """Row less column in points of word error rate, with the adjusted p-value; what is significant stands out."""
    tests = {(p.first, p.second): (p, 1.0) for p in found.pairs}
    tests |= {(p.second, p.first): (p, -1.0) for p in found.pairs}
    names = found.ranking
    rows: list[list[Child]] = []
    for row in names:
        cells = ["" if row == column else _cell(*tests[row, column]) for column in names]
        rows.append([element("strong", row), *cells])
    caption = "Difference of word error rates, row less column, with adjusted p-values"
    return table(["", *names], rows, caption=caption, numeric=range(1, len(names) + 1))


def _cell(pair: PairTest, sign: float) -> Child:
    if pair.bootstrap is None or pair.holm_p is None:
        return "–"
    points = f"{sign * 100 * pair.bootstrap.difference:+.2f}"
    note = (
        f"bootstrap p = {shown_p(pair.bootstrap.p_value)}, MAPSSWE p = {shown_p(pair.matched_pairs.p_value)} over "
        f"{pair.matched_pairs.segments:,} segments, McNemar p = {shown_p(pair.mcnemar.p_value)}"
    )
    style = "significant" if pair.holm_p < SIGNIFICANT else "unsure"
    p_value = element("small", f"p = {shown_p(pair.holm_p)}")
    return element("span", points, element("br"), p_value, class_=style, title=note)


def _stroke(path: str, style: str, note: str | None = None) -> Markup:
    title = element("title", note) if note else None
    return element("path", title, class_=style, d=path, vector_effect="non-scaling-stroke")
