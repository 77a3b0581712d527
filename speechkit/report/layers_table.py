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
        distance_interval = cell.distance_interval
        distance = (
            None
            if cell.distance is None or distance_interval is None
            else Value(cell.distance, distance_interval.low, distance_interval.high, digits=3)
        )
        bits_interval = cell.bits_interval
        bits = None if bits_interval is None else Value(cell.bits_per_second, bits_interval.low, bits_interval.high)
        state = (
            [None, None] if cell.state_kilobytes is None else [Value(kilobytes) for kilobytes in cell.state_kilobytes]
        )
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
                *state,
            ]
        )
    columns: list[Column | str] = ["task", "system", *(Column(name, numeric=True) for name in names)]
    shown = [index for index in range(len(columns)) if index < 2 or any(row[index] is not None for row in rows)]
    return Table(
        [columns[index] for index in shown], [[row[index] for index in shown] for row in rows], "Sequence layers"
    )
