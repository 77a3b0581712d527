"""Display of results: values with intervals, tables in every format, interval plots, learning curves."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import msgspec
from markupsafe import Markup, escape

from speechkit.report.svg import COLOURS, Plot, Scale, keys, shortened

if TYPE_CHECKING:
    from rich.table import Table as Grid

ABSENT = "–"
LATEX_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "–": "--", "…": r"\ldots{}", "−": "$-$", "∞": r"$\infty$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\rightarrow$",
}  # fmt: skip
MARKDOWN_SPECIAL = re.compile(r"[\\|`*<>~\[\]]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class Ends(Protocol):
    """An interval: `metrics.bootstrap.Interval`, for example."""

    @property
    def low(self) -> float:
        """Its lower end."""

    @property
    def high(self) -> float:
        """Its upper end."""


class Value(msgspec.Struct, frozen=True):
    """An estimate with its interval, formatted for display.

    Attributes:
        estimate: in the displayed unit (50.0 for half in percent); None if undefined.
        low: lower end of its interval in the same unit; None without an interval.
        high: upper end.
        digits: decimal places.
        unit: suffix of the number, such as " %".
        signed: whether to show a plus sign, for differences.
        emphasis: "strong" for the best value or a significant difference; "weak" for an insignificant one.
        below: a second line, such as a p-value.
        note: a tooltip in HTML.
    """

    estimate: float | None
    low: float | None = None
    high: float | None = None
    digits: int = 1
    unit: str = ""
    signed: bool = False
    emphasis: Literal["none", "strong", "weak"] = "none"
    below: str = ""
    note: str = ""

    @property
    def number(self) -> str:
        """The estimate without its interval."""
        return ABSENT if self.estimate is None or math.isnan(self.estimate) else self._number(self.estimate) + self.unit

    def ends(self, dash: str | None = None) -> str:
        """Both ends of the interval, empty without one; separated by "to" where a dash would look like a minus sign."""
        if self.estimate is None or self.low is None or self.high is None:
            return ""
        return (dash or (" to " if self.signed or self.low < 0 else "–")).join(map(self._number, (self.low, self.high)))

    def _number(self, value: float) -> str:
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        return f"{value:{'+' if self.signed else ''},.{self.digits}f}"

    def __str__(self) -> str:
        ends = self.ends()
        return f"{self.number} ({ends})" if ends else self.number

    def __html__(self) -> str:
        return _shown(self, "whole", HTML)


def percent(
    rate: float | None, interval: Ends | None = None, *, digits: int = 1, signed: bool = False, **shown: Any
) -> Value:
    """A rate (0 to 1) and its interval in percent."""
    low, high = (None, None) if interval is None else (100 * interval.low, 100 * interval.high)
    return Value(None if rate is None else 100 * rate, low, high, digits=digits, signed=signed, **shown)


def mark_best(values: Sequence[Value], better: Literal["higher", "lower"], *, ties: bool = False) -> list[Value]:
    """The values with the best in bold; if all are equal, none is, unless ``ties``."""
    estimates = [value.estimate for value in values if value.estimate is not None]
    if not estimates or (len(set(estimates)) == 1 and not ties):
        return list(values)
    best = max(estimates) if better == "higher" else min(estimates)
    return [msgspec.structs.replace(v, emphasis="strong") if v.estimate == best else v for v in values]


class Strong(str):
    """Emphasised text."""

    __slots__ = ()


class Column(msgspec.Struct, frozen=True):
    """A column of a table.

    Attributes:
        name: its header.
        numeric: whether it is right-aligned; by default if all its cells are numbers.
        interval: header of a separate column for the intervals; by default they follow the estimates.
        wrap: whether long text may wrap in a terminal.
    """

    name: str
    numeric: bool | None = None
    interval: str | None = None
    wrap: bool = False


Part = Literal["whole", "estimate", "interval"]


class Table(msgspec.Struct, frozen=True):
    """A table of texts, numbers and values; every format escapes its cells.

    A cell may be HTML (`Markup`), which other formats reduce to its text; None is shown as a dash.

    Raises:
        ValueError: if a row has more or fewer cells than there are columns.
    """

    columns: Sequence[Column | str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"row {number} has {len(row)} cells, the table {len(self.columns)} columns")

    def first(self, count: int) -> Table:
        """The table with at most ``count`` rows."""
        return Table(self.columns, self.rows[:count], self.caption)

    def html(self) -> Markup:
        """HTML; the table scrolls in its own box on a narrow screen."""

        def line(tag: str, end: str, texts: Iterable[str]) -> str:
            cells = zip(self._numeric(), texts, strict=True)
            joint = (f"<{tag}{' class=number' if right else ''}>{text}</{end}>" for right, text in cells)
            return f"<tr>{''.join(joint)}</tr>"

        head = line('th scope="col"', "th", map(escape, self._names()))
        body = "".join(line("td", "td", texts) for texts in self._texts(HTML))
        return Markup(
            f'<div class="table" tabindex="0" role="region" aria-label="{escape(self.caption)}"><table>'
            f"<caption>{escape(self.caption)}</caption><thead>{head}</thead><tbody>{body}</tbody></table></div>"
        )

    def __html__(self) -> str:
        return self.html()

    def markdown(self) -> str:
        """Markdown (GitHub); every line ends with a newline."""
        rule = ["---:" if right else "---" for right in self._numeric()]
        lines = [map(_markdown, self._names()), rule, *self._texts(MARKDOWN)]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def latex(self) -> str:
        """LaTeX: a ``tabular`` with booktabs rules, in a ``table`` if there is a caption."""
        alignment = "".join("r" if right else "l" for right in self._numeric())
        head, *body = (f"{' & '.join(line)} \\\\" for line in (map(_latex, self._names()), *self._texts(LATEX)))
        lines = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule"]
        lines.append(r"\end{tabular}")
        if self.caption:
            caption = rf"\caption{{{_latex(self.caption)}}}"
            lines = [r"\begin{table}", r"\centering", caption, *lines, r"\end{table}"]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """CSV with full precision and the ends of intervals in separate columns.

        Text that a spreadsheet would run as a formula is prefixed with an apostrophe.
        """
        with_interval = [
            any(isinstance(cell, Value) and cell.low is not None for cell in cells) for cells in self._by_column()
        ]
        suffixes = [("", " low", " high") if parts else ("",) for parts in with_interval]
        names = [column.name for column in self._columns()]
        lines: list[list[Any]] = [[n + suffix for n, parts in zip(names, suffixes, strict=True) for suffix in parts]]
        for row in self.rows:
            lines.append([])
            for cell, parts in zip(row, suffixes, strict=True):
                ends = (cell.estimate, cell.low, cell.high) if isinstance(cell, Value) else (cell, None, None)
                lines[-1] += ends[: len(parts)]
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([[_csv_cell(cell) for cell in line] for line in lines])
        return out.getvalue()

    def json(self) -> str:
        """JSON with caption, columns and rows; values have full precision and the ends of their intervals."""
        content = {
            "caption": self.caption,
            "columns": [column.name for column in self._columns()],
            "rows": [[_json_cell(cell) for cell in row] for row in self.rows],
        }
        return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n"

    def rich(self, *, dash: str | None = None, around: str = "{0} ({1})") -> Grid:
        """A Rich table for a terminal, with strong values in bold.

        Args:
            dash: separator of the ends of an interval.
            around: format of an estimate (0) and its interval (1) in one cell.
        """
        from rich.table import Table as Grid
        from rich.text import Text

        grid = Grid(box=None, pad_edge=False)
        for (_, column, _), name, right in zip(self._layout(), self._names(), self._numeric(), strict=True):
            grid.add_column(Text(name), justify="right" if right else "left", no_wrap=not column.wrap, overflow="fold")
        form = PLAIN._replace(dash=dash, around=around)
        for row, texts in zip(self.rows, self._texts(form), strict=True):
            strong = [_strong(row[index]) and part != "interval" for index, _, part in self._layout()]
            grid.add_row(*(Text(text, "bold" if bold else "") for text, bold in zip(texts, strong, strict=True)))
        return grid

    def _columns(self) -> list[Column]:
        return [Column(column) if isinstance(column, str) else column for column in self.columns]

    def _by_column(self) -> list[list[Any]]:
        return [[row[index] for row in self.rows] for index in range(len(self.columns))]

    def _layout(self) -> Iterator[tuple[int, Column, Part]]:
        """The displayed columns: index in a row, column, and the part of the cell."""
        for index, column in enumerate(self._columns()):
            yield index, column, "whole" if column.interval is None else "estimate"
            if column.interval is not None:
                yield index, column, "interval"

    def _names(self) -> list[str]:
        return [str(column.interval) if part == "interval" else column.name for _, column, part in self._layout()]

    def _numeric(self) -> list[bool]:
        cells = [[cell for cell in cells if cell not in (None, "", ABSENT)] for cells in self._by_column()]
        numbers = [
            bool(column_cells) and all(isinstance(cell, Value | int | float) for cell in column_cells)
            for column_cells in cells
        ]
        return [numbers[index] if c.numeric is None else c.numeric for index, c, _ in self._layout()]

    def _texts(self, form: _Format) -> Iterator[list[str]]:
        for row in self.rows:
            yield [_shown(row[index], part, form) for index, _, part in self._layout()]


class _Format(NamedTuple):
    """Text patterns of a format; 0 is the enclosed text."""

    escape: Callable[[str], str]
    strong: str = "{0}"
    weak: str = "{0}"
    around: str = "{0} ({1})"
    below: str = "{0} {1}"
    note: str = "{0}"
    dash: str | None = None


def _markdown(text: str) -> str:
    return MARKDOWN_SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def _latex(text: str) -> str:
    return "".join(LATEX_SPECIAL.get(letter, letter) for letter in " ".join(text.split()) if letter.isprintable())


PLAIN = _Format(str)
MARKDOWN = _Format(_markdown, strong="**{0}**")
LATEX = _Format(_latex, strong=r"\textbf{{{0}}}")
HTML = _Format(
    lambda text: str(escape(text)),
    strong="<strong>{0}</strong>",
    weak='<span class="weak">{0}</span>',
    around="{0} <small>({1})</small>",
    below="{0}<br><small>{1}</small>",
    note='<span title="{1}">{0}</span>',
)


def _shown(cell: Any, part: Part, form: _Format) -> str:
    if part == "interval" and not isinstance(cell, Value):
        return form.escape(ABSENT) if cell is None else ""
    if isinstance(cell, Markup):
        return str(cell) if form is HTML else form.escape(cell.striptags())
    if isinstance(cell, Value):
        ends = form.escape(cell.ends(form.dash))
        if part == "interval":
            return ends or form.escape(ABSENT)
        frames = {"none": "{0}", "strong": form.strong, "weak": form.weak}
        text = frames[cell.emphasis].format(form.escape(cell.number))
        text = form.around.format(text, ends) if ends and part == "whole" else text
        text = form.below.format(text, form.escape(cell.below)) if cell.below else text
        return form.note.format(text, form.escape(cell.note)) if cell.note else text
    if isinstance(cell, Strong):
        return form.strong.format(form.escape(cell))
    if cell is None:
        return form.escape(ABSENT)
    return form.escape(f"{cell:,}" if isinstance(cell, int) else f"{cell:g}" if isinstance(cell, float) else str(cell))


def _strong(cell: Any) -> bool:
    return isinstance(cell, Strong) or (isinstance(cell, Value) and cell.emphasis == "strong")


def _csv_cell(cell: Any) -> Any:
    if isinstance(cell, str):
        text = cell.striptags() if isinstance(cell, Markup) else str(cell)
        return f"'{text}" if text.startswith(FORMULA) else text
    return "" if cell is None else repr(cell)


def _json_cell(cell: Any) -> Any:
    if isinstance(cell, Value):
        ends = {} if cell.low is None else {"low": _finite(cell.low), "high": _finite(cell.high)}
        return {"estimate": _finite(cell.estimate), **ends, **({"unit": cell.unit.strip()} if cell.unit else {})}
    return cell.striptags() if isinstance(cell, Markup) else _finite(cell)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def interval_plot(
    systems: Mapping[str, Value], *, label: str, x_title: str, better: Literal["higher", "lower"]
) -> Markup | None:
    """A dot with its interval per system, the best on top; None if there are none or one is infinite."""
    known = {name: value for name, value in systems.items() if value.estimate is not None}
    ends = [end for v in known.values() for end in (v.estimate, v.low, v.high) if end is not None]
    if not ends or not all(map(math.isfinite, ends)):
        return None
    order = sorted(known, key=lambda name: known[name].estimate or 0.0, reverse=better == "higher")
    low, high = min(ends), max(ends)
    room = max(0.2, 0.06 * (high - low))
    plot = Plot(Scale(low - room if low < 0 else max(0.0, low - room), high + room), Scale(0, len(order)), grid=False)
    names = []
    for index, name in enumerate(order):
        value, y = known[name], len(order) - index - 0.5
        style = f"c{list(systems).index(name) % COLOURS}"
        if value.low is not None and value.high is not None:
            plot.line([(value.low, y), (value.high, y)], f"whisker {style}")
        plot.dots([(value.estimate or 0.0, y)], f"dot {style}", f"{name}: {value}")
        names.append((y / len(order), shortened(name, 18)))
    drawn = plot.draw(label=label, x_title=x_title, y_title="", y_ticks=names, x_count=6)
    return Markup('<div class="wide-axis rows-plot" data-rows="{}">{}</div>').format(len(order), drawn)


def learning_curve(
    lines: Mapping[str, Sequence[tuple[float, Value]]], *, label: str, x_title: str, y_title: str, top: float
) -> Markup | None:
    """A line per system on a scale from 0 to ``top``, its last value in the legend; None if no line has two points."""
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    plot = Plot(Scale(0, max(x for points in lines.values() for x, _ in points)), Scale(0, top))
    for number, (name, points) in enumerate(lines.items()):
        coordinates = [(x, value.estimate or 0.0) for x, value in points]
        plot.line(coordinates, f"line c{number % COLOURS}", name)
        plot.dots(coordinates, f"dot c{number % COLOURS}")
    names = [(f"b{n % COLOURS}", f"{name} {points[-1][1].number}") for n, (name, points) in enumerate(lines.items())]
    return Markup('<figure class="curve">{}{}</figure>').format(
        plot.draw(label=label, x_title=x_title, y_title=y_title), keys(names)
    )
