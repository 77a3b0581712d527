"""Plots as inline SVG that fits any width: marks stretch with the page, letters keep their size.

A plot is a grid of three SVGs: the marks (stretched, lines keep their width), the axis on the left and the axis below,
whose labels stand at percentages. Colours come from the page's style by class, so that dark mode needs no second plot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from speechkit.report.markup import Child, Markup, element, join

WIDTH, HEIGHT = 1000, 400  # the stretched coordinate system of the marks


@dataclass(frozen=True)
class Scale:
    """From values to 0..1, evenly or by square root (which lets small counts be seen beside large ones)."""

    low: float
    high: float
    root: bool = False

    def __call__(self, value: float) -> float:
        """Where ``value`` lies between low (0) and high (1)."""
        low, high, value = ((math.sqrt(max(0.0, v)) if self.root else v) for v in (self.low, self.high, value))
        return (value - low) / (high - low) if high > low else 0.0


@dataclass(frozen=True)
class Series:
    """Heights of a histogram's bars under one name and one style class."""

    name: str
    style: str
    values: Sequence[float]


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers from low to high, both included where they are round."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(tick * step, 12) for tick in range(first, math.floor(high / step + 1e-9) + 1)]


def short_number(value: float) -> str:
    """A number in few letters: 1.2k, 3M, 0.25."""
    for limit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


def histogram(
    edges: Sequence[float],
    series: Sequence[Series],
    *,
    label: str,
    x_title: str,
    y_title: str,
    marker: tuple[float, str] | None = None,
    root: bool = False,
) -> Markup:
    """Stacked bars between ``edges`` (one more than values), with a vertical line at ``marker`` (value, text)."""
    count = len(edges) - 1
    totals = [sum(each.values[index] for each in series) for index in range(count)]
    y = Scale(0, max([*totals, 1e-9]) * 1.04, root)
    x = Scale(edges[0], edges[-1])
    marks: list[Child] = [_grid(y)]
    for index in range(count):
        left, right = x(edges[index]) * WIDTH, x(edges[index + 1]) * WIDTH
        at = 0.0
        for each in series:
            value = each.values[index]
            if value:
                top, bottom = HEIGHT * (1 - y(at + value)), HEIGHT * (1 - y(at))
                note = f"{each.name}: {short_number(value)} ({edges[index]:g} to {edges[index + 1]:g})"
                marks.append(_bar(left, top, right - left, bottom - top, each.style, note))
            at += value
    if marker is not None:
        marks.append(_vertical(x(marker[0])))
    ticks = [(x(tick), f"{tick:g}") for tick in nice_ticks(edges[0], edges[-1], 5)]
    named = None if marker is None else (x(marker[0]), marker[1])
    return frame(marks, label=label, x_ticks=ticks, y_ticks=_y_ticks(y), x_title=x_title, y_title=y_title, marker=named)


def curve(
    points: Sequence[tuple[float, float]],
    *,
    label: str,
    x_title: str,
    y_title: str,
    marker: tuple[float, float, str] | None = None,
) -> Markup:
    """A line with the area below it; ``marker`` is a point (x, y) that stands out, and its text."""
    low, high = min(point[0] for point in points), max(point[0] for point in points)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    x, y = Scale(low, high), Scale(0, max([*(point[1] for point in points), 1e-9]) * 1.08)
    line = "L".join(f"{x(px) * WIDTH:.1f} {HEIGHT * (1 - y(py)):.1f}" for px, py in points)
    first, last = x(points[0][0]) * WIDTH, x(points[-1][0]) * WIDTH
    marks: list[Child] = [
        _grid(y),
        element("path", class_="area", d=f"M{first:.1f} {HEIGHT}L{line}L{last:.1f} {HEIGHT}Z"),
        element("path", class_="line", d=f"M{line}", vector_effect="non-scaling-stroke"),
    ]
    named = None
    if marker is not None:
        at, height = x(marker[0]) * WIDTH, HEIGHT * (1 - y(marker[1]))
        marks.append(_vertical(x(marker[0])))
        # A line of no length with round ends stays a circle however the plot is stretched.
        dot = f"M{at:.1f} {height:.1f}h0"
        marks.append(element("path", class_="dot", d=dot, vector_effect="non-scaling-stroke"))
        named = (x(marker[0]), marker[2])
    ticks = [(x(tick), f"{tick:g}") for tick in nice_ticks(low, high, 4)]
    return frame(marks, label=label, x_ticks=ticks, y_ticks=_y_ticks(y), x_title=x_title, y_title=y_title, marker=named)


def stacked_bar(parts: Sequence[tuple[str, str, float, str]], *, label: str) -> Markup:
    """One horizontal bar of (name, style, value, value as text), with its legend; parts of 0 are left out."""
    parts = [part for part in parts if part[2] > 0]
    total = sum(part[2] for part in parts) or 1.0
    marks, legend, at = [], [], 0.0
    for name, style, value, shown in parts:
        width = WIDTH * value / total
        note = f"{name}: {shown} ({value / total:.1%})"
        marks.append(_bar(at, 0, width, 40, style, note))
        share = f"{value / total:.1%}" if value / total < 0.995 else "100%"
        legend.append(
            element(
                "li",
                element("span", class_=f"swatch {style}"),
                element("span", name, class_="name"),
                element("span", shown, class_="value"),
                element("span", share, class_="share"),
            )
        )
        at += width
    bar = element(
        "svg",
        marks,
        class_="stack",
        viewBox=f"0 0 {WIDTH} 40",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )
    return element("figure", bar, element("ul", legend, class_="legend"), class_="stacked")


def frame(
    marks: Sequence[Child],
    *,
    label: str,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    x_title: str,
    y_title: str,
    marker: tuple[float, str] | None = None,
) -> Markup:
    """Marks in ``0 0 1000 400`` with axes; ticks are (place from 0 to 1, text), a ``marker`` is named above."""
    plot = element(
        "svg",
        join(marks),
        class_="marks",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )
    left = [element("text", text, x="100%", dx="-8", y=f"{100 * (1 - at):.2f}%", dy="0.35em") for at, text in y_ticks]
    below = [element("text", text, x=f"{100 * at:.2f}%", y="16", class_=_anchor(at)) for at, text in x_ticks]
    above: Markup | None = None
    if marker is not None:
        text = element("text", marker[1], x=f"{100 * marker[0]:.2f}%", y="12", class_=_anchor(marker[0], 0.3))
        above = element("svg", text, class_="above", aria_hidden="true")
    return element(
        "div",
        element("div", y_title, class_="y-title"),
        above,
        element("svg", left, class_="y-axis", aria_hidden="true"),
        plot,
        element("svg", below, class_="x-axis", aria_hidden="true"),
        element("div", x_title, class_="x-title"),
        class_="plot",
    )


def _anchor(at: float, edge: float = 0.04) -> str:
    return "from" if at < edge else "to" if at > 1 - edge else "at"


def _y_ticks(y: Scale) -> list[tuple[float, str]]:
    ticks = nice_ticks(y.low, y.high, 4)
    if y.root and len(ticks) > 1:
        # Under a square root the low ticks spread: one more below the first shows that the axis is not even.
        ticks = sorted({*ticks, ticks[1] / 4})
    return [(y(tick), short_number(tick)) for tick in ticks]


def _grid(y: Scale) -> Markup:
    lines = [f"M0 {HEIGHT * (1 - at):.1f}H{WIDTH}" for at, _ in _y_ticks(y)]
    return element("path", class_="grid", d="".join(lines), vector_effect="non-scaling-stroke")


def _vertical(at: float) -> Markup:
    return element("path", class_="mark", d=f"M{at * WIDTH:.1f} 0V{HEIGHT}", vector_effect="non-scaling-stroke")


def _bar(x: float, y: float, width: float, height: float, style: str, note: str) -> Markup:
    return element("rect", element("title", note), class_=style, x=x, y=y, width=max(0.0, width), height=height)
