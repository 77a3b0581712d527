"""Values and tables: what goes in comes back from every format, and no text becomes markup or a formula."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from speechkit.metrics.bootstrap import Interval
from speechkit.report.results import (
    FORMULA,
    Column,
    Strong,
    Table,
    Value,
    interval_plot,
    learning_curve,
    mark_best,
    percent,
)

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
NUMBERS = st.floats(-1e6, 1e6)
VALUES = st.builds(
    Value, NUMBERS | st.none() | st.just(math.inf), low=NUMBERS, high=NUMBERS, digits=st.integers(0, 3)
) | st.builds(Value, NUMBERS, signed=st.booleans())
CELLS = TEXT | st.integers(-(10**9), 10**9) | st.none() | VALUES
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.builds(
        Table,
        st.lists(TEXT, min_size=width, max_size=width),
        st.lists(st.lists(CELLS, min_size=width, max_size=width), max_size=4),
        TEXT,
    )
)


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.caption = ""
        self.inside = ""

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag in ("td", "th", "caption"):
            self.inside = tag
            self.cells += [] if tag == "caption" else [""]

    def handle_endtag(self, tag):
        self.inside = "" if tag in ("td", "th", "caption") else self.inside

    def handle_data(self, data):
        if self.inside == "caption":
            self.caption += data
        elif self.inside:
            self.cells[-1] += data


def shown(cell: object) -> str:
    return "–" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell)


@given(TABLES)
def test_html_holds_every_cell_as_text_and_no_other_element(table: Table) -> None:
    read = _Cells()
    read.feed(table.html())
    read.close()
    assert read.cells == [*table.columns, *(shown(cell) for row in table.rows for cell in row)]
    assert read.caption == table.caption
    assert set(read.tags) <= {"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "small"}


@given(TABLES)
def test_csv_comes_back_from_the_standard_reader_with_numbers_in_full(table: Table) -> None:
    head, *lines = csv.reader(io.StringIO(table.csv()))
    widths = [sum(name.endswith((" low", " high")) for name in head)]
    assert len(head) == len(table.columns) + widths[0] or any(str(c).endswith((" low", " high")) for c in table.columns)
    wide = [
        any(isinstance(row[n], Value) and row[n].low is not None for row in table.rows)
        for n in range(len(table.columns))
    ]
    for line, row in zip(lines, table.rows, strict=True):
        cells = iter(line)
        for cell, three in zip(row, wide, strict=True):
            text, low, high = next(cells), *((next(cells), next(cells)) if three else ("", ""))
            if isinstance(cell, Value):
                ends = (cell.low, cell.high) if three else (None, None)
                assert [text, low, high] == ["" if v is None else repr(v) for v in (cell.estimate, *ends)]
            elif isinstance(cell, str):
                assert text == (f"'{cell}" if cell.startswith(FORMULA) else cell)
                assert not text.startswith(FORMULA)
            else:
                assert text == ("" if cell is None else str(cell))


@given(TABLES)
def test_json_comes_back_from_the_standard_reader(table: Table) -> None:
    read = json.loads(table.json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert read["caption"] == table.caption
    assert read["columns"] == table.columns
    for line, row in zip(read["rows"], table.rows, strict=True):
        for got, cell in zip(line, row, strict=True):
            if isinstance(cell, Value):
                assert got["estimate"] == (None if cell.estimate in (None, math.inf) else cell.estimate)
                assert (got.get("low"), got.get("high")) == (cell.low, cell.high)
            else:
                assert got == cell


@given(TABLES)
def test_markdown_has_as_many_cells_in_every_line_as_the_table_has_columns(table: Table) -> None:
    lines = table.markdown().splitlines()
    assert len(lines) == 2 + len(table.rows)
    for line in lines:
        assert len(re.sub(r"\\[\\|]", "", line).split("|")) == len(table.columns) + 2
        assert not re.search(r"(?<!\\)(\\\\)*[<`]", line)


@given(TABLES)
def test_latex_has_as_many_cells_as_the_table_and_no_bare_special(table: Table) -> None:
    lines = table.latex().splitlines()
    rows = [line for line in lines if line.endswith(r" \\")]
    assert len(rows) == 1 + len(table.rows)
    for line in rows:
        assert line.replace(r"\&", "").count("&") == len(table.columns) - 1
        assert not re.search(r"(?<!\\)[%#_~^|<>\"]", line)
    text = table.latex()
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_latex_and_markdown_of_one_table_are_these() -> None:
    better = mark_best([percent(0.125, _interval(0.1, 0.15)), percent(0.2, _interval(0.15, 0.25))], "lower")
    rows = [
        ["a_b & c|d", 1234, *better],
        [Strong("50 % {x}"), None, percent(-0.01, _interval(-0.02, 0.0), signed=True), ""],
    ]
    table = Table(["name", "n", Column("WER %", interval="95 %"), "other"], rows, "100 % $x^2$")
    assert table.latex() == (
        "\\begin{table}\n\\centering\n\\caption{100 \\% \\$x\\textasciicircum{}2\\$}\n"
        "\\begin{tabular}{lrrrr}\n\\toprule\nname & n & WER \\% & 95 \\% & other \\\\\n\\midrule\n"
        "a\\_b \\& c\\textbar{}d & 1,234 & \\textbf{12.5} & 10.0--15.0 & 20.0 (15.0--25.0) \\\\\n"
        "\\textbf{50 \\% \\{x\\}} & -- & -1.0 & -2.0 to +0.0 &  \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )
    assert table.markdown() == (
        "| name | n | WER % | 95 % | other |\n| --- | ---: | ---: | ---: | ---: |\n"
        "| a_b & c\\|d | 1,234 | **12.5** | 10.0–15.0 | 20.0 (15.0–25.0) |\n"
        "| **50 % {x}** | – | -1.0 | -2.0 to +0.0 |  |\n"
    )
    assert table.csv().splitlines()[0] == "name,n,WER %,WER % low,WER % high,other,other low,other high"


def _interval(low: float, high: float) -> Interval:
    return Interval(low, high, 0.95, 100, 10)


def test_values_are_written_as_readers_expect() -> None:
    assert str(Value(None, 1, 2)) == "–"
    assert str(Value(math.nan)) == "–"
    assert str(Value(math.inf)) == "∞"
    assert str(Value(1234.5, unit=" %")) == "1,234.5 %"
    assert str(Value(0.5, -0.25, 1.0, digits=2)) == "0.50 (-0.25 to 1.00)"
    noted = Value(1, emphasis="weak", below="p = <1e-16", note='"<tip>')
    assert noted.__html__() == (
        '<span title="&#34;&lt;tip&gt;"><span class="weak">1.0</span><br><small>p = &lt;1e-16</small></span>'
    )


def test_the_best_stands_out_only_where_one_is_better() -> None:
    def strong(values: list[Value]) -> list[bool]:
        return [value.emphasis == "strong" for value in values]

    values = [Value(0.3), Value(0.1), Value(None), Value(0.1)]
    assert strong(mark_best(values, "lower")) == [False, True, False, True]
    assert strong(mark_best(values, "higher")) == [True, False, False, False]
    assert strong(mark_best([Value(1.0)] * 2, "lower")) == [False, False]
    assert strong(mark_best([Value(1.0)] * 2, "lower", ties=True)) == [True, True]
    assert mark_best([], "lower") == []


def test_cells_of_html_are_markup_on_a_page_and_text_elsewhere() -> None:
    table = Table(["a"], [[Markup("<b>x &amp; y</b>")]])
    assert "<b>x &amp; y</b>" in table.html()
    assert "| x & y |" in table.markdown()
    assert r"x \& y" in table.latex()
    assert "x & y\n" in table.csv()
    assert json.loads(table.json())["rows"] == [["x & y"]]


def test_a_row_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="row 0 has 1 cells"):
        Table(["a", "b"], [["1"]])


def test_a_terminal_shows_bold_what_is_strong() -> None:
    from rich.console import Console

    out = io.StringIO()
    columns = ["", Column("WER %", numeric=True, interval="95 % interval")]
    table = Table(columns, [["a", percent(0.1, _interval(0.05, 0.2))], ["b", None], ["c", "none"]])
    Console(file=out, width=80).print(table.rich(dash=" - "))
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "   WER %  95 % interval",
        "a   10.0     5.0 - 20.0",
        "b      –              –",
        "c   none",
    ]


def test_plots_show_every_system_or_nothing() -> None:
    systems = {f"<{n}>": percent(n / 10, _interval(n / 20, n / 5)) for n in range(1, 4)}
    plot = interval_plot(systems, label="L", x_title="x", better="higher")
    assert plot is not None
    assert re.findall(r"<title>&lt;(\d)", plot) == ["3", "2", "1"]
    assert 'data-rows="3"' in plot
    assert interval_plot({"a": Value(math.inf)}, label="L", x_title="x", better="lower") is None
    assert interval_plot({}, label="L", x_title="x", better="lower") is None
    lines = {"<a>": [(1, percent(0.1)), (2, percent(0.2))], "b": [(1, percent(0.3))]}
    curve = learning_curve(lines, label="L", x_title="x", y_title="y", top=100)
    assert curve is not None
    assert "&lt;a&gt; 20.0" in curve
    assert learning_curve({"b": lines["b"]}, label="L", x_title="x", y_title="y", top=100) is None


def test_results_need_neither_torch_nor_numpy() -> None:
    code = "import sys, speechkit.report.results; print({'torch', 'numpy', 'jinja2', 'rich'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
