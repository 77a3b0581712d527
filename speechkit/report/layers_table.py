"""Table of sequence layers: accuracy on each task, model size and cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from speechkit.lm.synthetic.records import STATE_POSITIONS, Cell
from speechkit.report.results import Column, Table, Value, percent


def layers_table(cells: Sequence[Cell]) -> Table:
    """One row per cell, without empty columns; 95 % intervals are over the judged items."""
    names = (
        "right, %", "total variation", "right at half the rate, %", "bits a second", "parameters", "steps",
        "CPU ms a step", *(f"kB of a row at {count:,}" for count in STATE_POSITIONS),
    )  # fmt: skip
    rows: list[list[Any]] = []
    for cell in cells:
        apart = cell.distance_interval
        distance = (
            None if cell.distance is None or apart is None else Value(cell.distance, apart.low, apart.high, digits=3)
        )
        own = cell.bits_interval
        bits = None if own is None else Value(cell.bits_per_second, own.low, own.high)
        kept = [None, None] if cell.state_kilobytes is None else [Value(each) for each in cell.state_kilobytes]
        seconds = None if cell.step_seconds is None else Value(1e3 * cell.step_seconds, digits=0)
        rows.append(
            [
                cell.task,
                cell.system,
                None if cell.accuracy is None else percent(cell.accuracy, cell.accuracy_interval),
                distance,
                None if cell.half_rate is None else percent(cell.half_rate, cell.half_rate_interval),
                bits,
                f"{cell.parameters:,}" if cell.parameters else None,
                str(cell.steps) if cell.steps else None,
                seconds,
                *kept,
            ]
        )
    columns: list[Column | str] = ["task", "system", *(Column(name, numeric=True) for name in names)]
    some = [place for place in range(len(columns)) if place < 2 or any(row[place] is not None for row in rows)]
    return Table(
        [columns[place] for place in some], [[row[place] for place in some] for row in rows], "Sequence layers"
    )
