"""What the stages do: cells one by one, each kept as soon as it is done, then a table of them."""

from __future__ import annotations

import msgspec

from speechkit.io.atomic import atomic_path
from speechkit.lm.synthetic.records import Cell
from speechkit.pipeline import Context, Interrupted


class TableConfig(msgspec.Struct, frozen=True):
    """Nothing to set."""


def compare(context: Context) -> None:
    """Train and judge each system on each task; a run that goes on keeps the cells that are done."""
    from speechkit.lm.synthetic.comparison import Judge, judged_system

    config = context.config
    cells, total = [], len(config.tasks) * len(config.systems)
    for task in config.tasks:
        judge = Judge(task, config, context.seed)
        cells += judge.untrained()
        for number, system in enumerate(config.systems):
            kept = context.scratch / f"{task}-{number}.json"
            if kept.exists():
                cells.append(msgspec.json.decode(kept.read_bytes(), type=Cell))
                continue
            folder = context.scratch / f"{task}-{number}"
            cell = judged_system(judge, system, folder, context.seed, context.device, lambda: context.interrupted)
            if cell is None:
                raise Interrupted
            with atomic_path(kept) as temporary:
                temporary.write_bytes(msgspec.json.encode(cell))
            cells.append(cell)
            context.log(f"{task}, {system}: {100 * cell.accuracy:.1f} % right")
            context.progress.update(sum(each.steps > 0 for each in cells), total)
    context.write("cells.jsonl", cells)


def tabulate(context: Context) -> None:
    """One table of all tasks, in the order of their cells."""
    from speechkit.report.layers_table import layers_table

    cells = list(context.read("cells"))
    with atomic_path(context.output("table.md")) as temporary:
        temporary.write_text(layers_table(cells).markdown(), encoding="utf-8")
    best = max((cell for cell in cells if cell.steps), key=lambda cell: cell.accuracy, default=None)
    if best is not None:
        context.main_figure = f"best: {best.system} on {best.task}, {100 * best.accuracy:.1f} % right"
