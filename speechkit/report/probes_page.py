"""Probing results: one row per task, one column per encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from speechkit.encoders.probing.results import ProbeReport
from speechkit.report.page import write_page
from speechkit.report.results import Column, Table, mark_best, percent

TITLE = "Probes of frozen encoders"


def probes_table(reports: Sequence[ProbeReport]) -> Table:
    """One row per task in order; an encoder without a task has an empty cell."""
    rows: list[list[Any]] = []
    for task in dict.fromkeys(score.task for report in reports for score in report.scores):
        scores = [next((score for score in report.scores if score.task == task), None) for report in reports]
        first, *_ = known = [score for score in scores if score is not None]
        better: Literal["higher", "lower"] = "higher" if first.higher_is_better else "lower"
        values = [percent(score.value, score.interval) if score else percent(None) for score in scores]
        chance = next((score.chance for score in known if score.chance is not None), None)
        marked = mark_best(values, better, ties=True) if len(reports) > 1 else values
        rows.append([task, f"{first.metric} % {'↑' if better == 'higher' else '↓'}", percent(chance), *marked])
    names = [Column(report.encoder, numeric=True, wrap=True) for report in reports]
    caption = "Scores in percent with bootstrap intervals; the best of each row is bold"
    return Table(["task", "metric", Column("chance", numeric=True), *names], rows, caption)


def left_out_lines(reports: Sequence[ProbeReport]) -> list[str]:
    """One sentence per task that could not be measured for an encoder."""
    return [
        f"{report.encoder}: {task} could not be measured: {reason}"
        for report in reports
        for task, reason in report.left_out.items()
    ]


def markdown(reports: Sequence[ProbeReport]) -> str:
    """The table, and the tasks that could not be measured."""
    lines = "".join(f"- {line}\n" for line in left_out_lines(reports))
    return probes_table(reports).markdown() + (f"\n{lines}" if lines else "")


def write_probes_page(path: Path | str, reports: Sequence[ProbeReport]) -> Path:
    """Write the page and return its path."""
    tables = {report.encoder: _layers(report) for report in reports}
    return write_page(
        path,
        "probes.html",
        title=TITLE,
        table=probes_table(reports),
        left_out=left_out_lines(reports),
        layers={name: table for name, table in tables.items() if table.rows},
    )


def _layers(report: ProbeReport) -> Table:
    """Layer weights per task; no rows for an encoder of one layer."""
    scores = [score for score in report.scores if len(score.layer_weights) > 1]
    rows = [[score.task, *(f"{weight:.2f}" for weight in score.layer_weights)] for score in scores]
    layers = [Column(str(layer), numeric=True) for layer in range(len(rows[0]) - 1 if rows else 0)]
    return Table(["task", *layers], rows, f"Weight of each layer of {report.encoder}; words use one")
