"""The table of sequence layers: what each gets right of each task, at what size and cost."""

from __future__ import annotations

from collections.abc import Sequence

from speechkit.lm.synthetic.records import Cell
from speechkit.report.results import Column, Table, Value, percent


def layers_table(cells: Sequence[Cell]) -> Table:
    """A row for each cell; intervals are over instances, at 95 %."""
    names = ("right, %", "total variation", "parameters", "steps", "CPU ms a step")
    rows = []
    for cell in cells:
        apart = cell.distance_interval
        distance = (
            None if cell.distance is None or apart is None else Value(cell.distance, apart.low, apart.high, digits=3)
        )
        seconds = None if cell.step_seconds is None else Value(1e3 * cell.step_seconds, digits=0)
        rows.append(
            [
                cell.task,
                cell.system,
                percent(cell.accuracy, cell.accuracy_interval),
                distance,
                f"{cell.parameters:,}" if cell.parameters else None,
                str(cell.steps) if cell.steps else None,
                seconds,
            ]
        )
    return Table(["task", "system", *(Column(name, numeric=True) for name in names)], rows, "Sequence layers")
