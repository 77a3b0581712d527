"""Probing results side by side: a row a task, a column an encoder."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from speechkit.encoders.probing.results import ProbeReport, Score


class Cell(msgspec.Struct, frozen=True):
    """A score as shown: percent, its interval, and whether it is the best of its row."""

    value: str
    interval: str
    best: bool


class Row(msgspec.Struct, frozen=True):
    """A task: its name, metric with the better direction, chance in percent or empty, and a cell an encoder."""

    task: str
    metric: str
    chance: str
    cells: list[Cell | None]


def table_rows(reports: Sequence[ProbeReport]) -> list[Row]:
    """Rows in the order of the tasks; a task that an encoder lacks has no cell there."""
    tasks = list(dict.fromkeys(score.task for report in reports for score in report.scores))
    rows = []
    for task in tasks:
        scores = [next((score for score in report.scores if score.task == task), None) for report in reports]
        known = [score for score in scores if score is not None]
        first = known[0]
        values = [score.value for score in known]
        best = max(values) if first.higher_is_better else min(values)
        chances = [score.chance for score in known if score.chance is not None]
        rows.append(
            Row(
                task,
                f"{first.metric} % {'↑' if first.higher_is_better else '↓'}",
                _percent(chances[0]) if chances else "",
                [None if score is None else _cell(score, best) for score in scores],
            )
        )
    return rows


def left_out_lines(reports: Sequence[ProbeReport]) -> list[str]:
    """A sentence for every task that an encoder's probes could not measure."""
    return [
        f"{report.encoder}: {task} could not be measured: {reason}"
        for report in reports
        for task, reason in report.left_out.items()
    ]


def markdown(reports: Sequence[ProbeReport]) -> str:
    """The table as Markdown, the best of each row bold, and what could not be measured."""
    head = ["task", "metric", "chance", *(report.encoder for report in reports)]
    lines = [_line(head), _line(["---", "---", "---:", *("---:" for _ in reports)])]
    for row in table_rows(reports):
        cells = []
        for cell in row.cells:
            bold = "**" if cell is not None and cell.best and len(reports) > 1 else ""
            cells.append("–" if cell is None else f"{bold}{cell.value}{bold} [{cell.interval}]")
        lines.append(_line([row.task, row.metric, row.chance or "–", *cells]))
    left_out = left_out_lines(reports)
    return "\n".join([*lines, *([""] if left_out else []), *(f"- {line}" for line in left_out)])


def _cell(score: Score, best: float) -> Cell:
    interval = f"{_percent(score.interval.low)}–{_percent(score.interval.high)}"
    return Cell(_percent(score.value), interval, score.value == best)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _line(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
