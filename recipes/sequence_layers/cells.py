"""Stage 2: a table of the cells."""

from __future__ import annotations

import msgspec

from speechkit.io.atomic import atomic_path
from speechkit.pipeline import Context


class TableConfig(msgspec.Struct, frozen=True):
    """Nothing to set."""


def tabulate(context: Context) -> None:
    """One table of all tasks, in the order of their cells."""
    from speechkit.report.layers_table import layers_table

    cells = list(context.read("cells"))
    with atomic_path(context.output("table.md")) as temporary:
        temporary.write_text(layers_table(cells).markdown(), encoding="utf-8")
    best = max((cell for cell in cells if cell.steps), key=lambda cell: cell.accuracy or 0.0, default=None)
    if best is not None and best.accuracy is not None:
        context.main_figure = f"best: {best.system} on {best.task}, {100 * best.accuracy:.1f} % right"
