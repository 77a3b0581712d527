"""Plots as inline SVG that fits any width: marks stretch with the page, text keeps its size.

A plot is a grid of three SVGs: the marks (stretched, with constant line width), the y axis and the x axis, whose labels
are positioned in percent. Colours come from the page's style by class, so that dark mode needs no second plot.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 1000, 400  # the stretched coordinate system of the marks
COLOURS = 6  # classes c0 to c5 of lines and dots, b0 to b5 of swatches

Points = Sequence[tuple[float, float]]


def shape(name: str, /, *children: str | None, **attributes: str | float | None) -> Markup:
    """An SVG element; the values of its attributes and its text are escaped.

    ``class_`` becomes class, ``aria_label`` aria-label; attributes that are None are left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(short(value) if isinstance(value, float) else value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{joined(children)}</{name}>")


def joined(parts: Iterable[str | None]) -> Markup:
    """Concatenate parts, escaping those that are not markup."""
    return Markup("").join(part for part in parts if part is not None)


def short(value: float) -> str:
    """A number with at most three digits after the point."""
    return f"{value:.3f}".rstrip("0").rstrip(".") or "0"


@dataclass(frozen=True)
class Scale:
    """Maps values to 0..1, linearly or by square root (which keeps small counts visible beside large ones)."""

    low: float
    high: float
    root: bool = False

    def __call__(self, value: float) -> float:
        """Position of ``value`` between low (0) and high (1)."""
        low, high, value = ((math.sqrt(max(0.0, v)) if self.root else v) for v in (self.low, self.high, value))
        return (value - low) / (high - low) if high > low else 0.0


@dataclass(frozen=True)
class Series:
    """Heights of a histogram's bars under one name and one style class."""

    name: str
    style: str
    values: Sequence[float]


def shortened(text: str, length: int) -> str:
    """The text, truncated to ``length`` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers from low to high, inclusive."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(tick * step, 12) for tick in range(first, math.floor(high / step + 1e-9) + 1)]


def short_number(value: float) -> str:
    """Abbreviated number: 1.2k, 3M, 0.25."""
    for limit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


class Plot:
    """Marks in the coordinates of two scales; later ones are drawn on top."""

    def __init__(self, x: Scale, y: Scale, *, grid: bool = True) -> None:
        self.x, self.y = x, y
        self.marks: list[Markup] = []
        self.y_ticks = _y_ticks(y)
        if grid:
            self._path("".join(f"M0 {HEIGHT * (1 - at):.1f}H{WIDTH}" for at, _ in self.y_ticks), "grid")

    def line(self, points: Points, style: str, note: str | None = None, *, closed: bool = False) -> None:
        """Straight lines from point to point."""
        self._path("M" + "L".join(map(self._at, points)) + ("Z" if closed else ""), style, note)

    def dots(self, points: Points, style: str, note: str | None = None) -> None:
        """Dots, drawn as zero-length lines with round caps, which stay circles however the plot is stretched."""
        self._path("".join(f"M{self._at(point)}h0" for point in points), style, note)

    def bar(self, left: float, right: float, low: float, high: float, style: str, note: str) -> None:
        """A rectangle between four values."""
        (x, far), (bottom, top) = (
            (self.x(left) * WIDTH, self.x(right) * WIDTH),
            (HEIGHT * (1 - self.y(low)), HEIGHT * (1 - self.y(high))),
        )
        self.marks.append(bar(x, top, far - x, bottom - top, style, note))

    def vertical(self, value: float) -> None:
        """A dashed line over the whole height."""
        self._path(f"M{self.x(value) * WIDTH:.1f} 0V{HEIGHT}", "mark")

    def draw(
        self,
        *,
        label: str,
        x_title: str,
        y_title: str,
        x_ticks: Sequence[tuple[float, str]] | None = None,
        y_ticks: Sequence[tuple[float, str]] | None = None,
        x_count: int = 5,
        marker: tuple[float, str] | None = None,
    ) -> Markup:
        """The marks with axes; ticks are (0 to 1, text), a ``marker`` (x value, text) is labelled above."""
        if x_ticks is None:
            x_ticks = [(self.x(tick), f"{tick:g}") for tick in nice_ticks(self.x.low, self.x.high, x_count)]
        left = [
            shape("text", text, x="100%", dx=-8, y=f"{100 * (1 - at):.2f}%", dy="0.35em")
            for at, text in (self.y_ticks if y_ticks is None else y_ticks)
        ]
        below = [shape("text", text, x=f"{100 * at:.2f}%", y=16, class_=_anchor(at)) for at, text in x_ticks]
        above = None
        if marker is not None:
            at = self.x(marker[0])
            text = shape("text", marker[1], x=f"{100 * at:.2f}%", y=12, class_=_anchor(at, 0.3))
            above = shape("svg", text, class_="above", aria_hidden="true")
        return shape(
            "div",
            shape("div", y_title, class_="y-title"),
            above,
            shape("svg", *left, class_="y-axis", aria_hidden="true"),
            stretched(self.marks, "marks", f"0 0 {WIDTH} {HEIGHT}", label),
            shape("svg", *below, class_="x-axis", aria_hidden="true"),
            shape("div", x_title, class_="x-title"),
            class_="plot",
        )

    def _at(self, point: tuple[float, float]) -> str:
        return f"{self.x(point[0]) * WIDTH:.1f} {HEIGHT * (1 - self.y(point[1])):.1f}"

    def _path(self, d: str, style: str, note: str | None = None) -> None:
        title = shape("title", note) if note else None
        self.marks.append(shape("path", title, class_=style, d=d, vector_effect="non-scaling-stroke"))


def stretched(
    marks: Iterable[str], style: str, box: str, label: str | None = None, tabindex: int | None = None
) -> Markup:
    """Marks in an SVG that fills its container; without a label it is hidden from screen readers."""
    role, hidden = (None, "true") if label is None else ("img", None)
    return shape(
        "svg",
        *marks,
        class_=style,
        viewBox=box,
        preserveAspectRatio="none",
        role=role,
        tabindex=tabindex,
        aria_label=label,
        aria_hidden=hidden,
    )


def bar(x: float, y: float, width: float, height: float, style: str, note: str | None = None) -> Markup:
    """A rectangle with a tooltip."""
    title = shape("title", note) if note else None
    return shape("rect", title, class_=style, x=x, y=y, width=max(0.0, width), height=max(0.0, height))


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
    totals = [sum(heights) for heights in zip(*(group.values for group in series), strict=True)]
    plot = Plot(Scale(edges[0], edges[-1]), Scale(0, max([*totals, 1e-9]) * 1.04, root))
    for index in range(len(edges) - 1):
        at = 0.0
        for group in series:
            value = group.values[index]
            if value:
                note = f"{group.name}: {short_number(value)} ({edges[index]:g} to {edges[index + 1]:g})"
                plot.bar(edges[index], edges[index + 1], at, at + value, group.style, note)
            at += value
    if marker is not None:
        plot.vertical(marker[0])
    return plot.draw(label=label, x_title=x_title, y_title=y_title, marker=marker)


def curve(
    points: Points, *, label: str, x_title: str, y_title: str, marker: tuple[float, float, str] | None = None
) -> Markup:
    """A line with the area below it; ``marker`` is a highlighted point (x, y) and its text."""
    low, high = min(point[0] for point in points), max(point[0] for point in points)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    plot = Plot(Scale(low, high), Scale(0, max([*(point[1] for point in points), 1e-9]) * 1.08))
    plot.line([(points[0][0], 0), *points, (points[-1][0], 0)], "area", closed=True)
    plot.line(points, "line")
    if marker is not None:
        plot.vertical(marker[0])
        plot.dots([marker[:2]], "dot")
    named = None if marker is None else (marker[0], marker[2])
    return plot.draw(label=label, x_title=x_title, y_title=y_title, x_count=4, marker=named)


def keys(names: Iterable[tuple[str, str]]) -> Markup:
    """A legend of (style of the swatch, name)."""
    items = (shape("li", shape("span", class_=f"swatch {style}"), name) for style, name in names)
    return shape("ul", *items, class_="keys")


def stacked_bar(parts: Sequence[tuple[str, str, float, str]], *, label: str) -> Markup:
    """A horizontal bar of parts (name, style, value, value as text), with a legend; parts of 0 are left out."""
    parts = [part for part in parts if part[2] > 0]
    total = sum(part[2] for part in parts) or 1.0
    marks, legend, at = [], [], 0.0
    for name, style, value, shown in parts:
        width = WIDTH * value / total
        marks.append(bar(at, 0, width, 40, style, f"{name}: {shown} ({value / total:.1%})"))
        share = f"{value / total:.1%}" if value / total < 0.995 else "100%"
        texts = (("name", name), ("value", shown), ("share", share))
        spans = [shape("span", text, class_=kind) for kind, text in texts]
        legend.append(shape("li", shape("span", class_=f"swatch {style}"), *spans))
        at += width
    graphic = stretched(marks, "stack", f"0 0 {WIDTH} 40", label)
    return shape("figure", graphic, shape("ul", *legend, class_="legend"), class_="stacked")


def _anchor(at: float, edge: float = 0.04) -> str:
    return "from" if at < edge else "to" if at > 1 - edge else "at"


def _y_ticks(y: Scale) -> list[tuple[float, str]]:
    ticks = nice_ticks(y.low, y.high, 4)
    if y.root and len(ticks) > 1:
        # A square-root axis has room for one more low tick, which shows that the axis is not linear.
        ticks = sorted({*ticks, ticks[1] / 4})
    return [(y(tick), short_number(tick)) for tick in ticks]
