"""The stage of the recipe sequence_layers that trains and judges: cells one by one, each kept as soon as it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechkit.errors import AudioError, UserError
from speechkit.lm.synthetic.records import Cell
from speechkit.pipeline import Context
from speechkit.units.quantizers import UnitSet
from speechkit.units.sequences import UnitSequence

if TYPE_CHECKING:
    from speechkit.lm.synthetic.waveform_classes import Clips

Judged = Callable[[Path], "Cell | None"]
CELL_DROPS = ("no_text_or_speaker", "unreadable_audio")
FRAMES_PER_SECOND = 50.0
"""Of the encoders whose units these are."""


def compare(context: Context) -> None:
    """Train and judge each system on each task; a run that goes on keeps the cells that are done."""
    config = context.config
    cells: list[Cell] = []
    total = sum(len(config.waveform_systems if task == "waveforms" else config.systems) for task in config.tasks)
    for task in config.tasks:
        untrained, systems = _task(context, task)
        cells += untrained
        for number, (system, judge) in enumerate(systems):
            name = f"{task}-{number}"
            cell = context.kept(name, Cell, partial(judge, context.scratch / name))
            cells.append(cell)
            shown = (
                f"{cell.bits_per_second:.1f} bits/s" if cell.accuracy is None else f"{100 * cell.accuracy:.1f} % right"
            )
            context.log(f"{task}, {system}: {shown}")
            context.progress.update(sum(each.steps > 0 for each in cells), total)
    context.write("cells.jsonl", cells)


def _task(context: Context, task: str) -> tuple[list[Cell], list[tuple[str, Judged]]]:
    """What needs no training, and each system by what trains and judges it in a folder."""
    config, more = context.config, (context.seed, context.device, lambda: context.interrupted)
    if task == "waveforms":
        from speechkit.lm.synthetic.waveform_classes import waveforms_cell

        clips = _clips(context)
        return [], [
            (name, partial(waveforms_cell, name, config, clips, seed=more[0], device=more[1], should_stop=more[2]))
            for name in config.waveform_systems
        ]
    if task == "units":
        from speechkit.lm.synthetic.unit_bits import units_cell

        learnt, judged = list(context.read("train_units")), list(context.read("test_units"))
        units = _unit_set(learnt, judged)
        return [], [
            (
                name,
                partial(
                    units_cell, name, config, units, learnt, judged, seed=more[0], device=more[1], should_stop=more[2]
                ),
            )
            for name in config.systems
        ]
    from speechkit.lm.synthetic.comparison import Judge, judged_system

    bank = None
    if task == "long_recall" and "train_units" in context.inputs:
        rows = list(context.read("train_units"))
        bank = np.concatenate([np.asarray(row.units) for row in rows]), _unit_set(rows, rows).clusters
    judge = Judge(task, config, context.seed, bank)  # type: ignore[arg-type]

    def judged_by(system: Any) -> Judged:
        return lambda folder: judged_system(judge, system, folder, *more)

    return judge.untrained(), [(name, judged_by(name)) for name in config.systems]


def _unit_set(learnt: Sequence[UnitSequence], judged: Sequence[UnitSequence]) -> UnitSet:
    """The units of both; how many there are is what stands in them.

    Raises:
        UserError: if there is none, or they are of several codebooks.
    """
    if len({row.codebook for row in (*learnt, *judged)}) != 1:
        raise UserError("train_units and test_units are empty or of several codebooks; give units of one")
    return UnitSet(learnt[0].codebook, 1 + max(max(row.units) for row in (*learnt, *judged)), FRAMES_PER_SECOND)


def _clips(context: Context) -> Clips:
    from speechkit.data.audio import read_waveform
    from speechkit.lm.synthetic.waveform_classes import clips_of

    waveforms, texts, speakers = [], [], []
    for row in context.read("clips"):
        if not (row.text or "").strip() or not row.speaker:
            context.drop(row.id, "no_text_or_speaker")
            continue
        try:
            waveforms.append(read_waveform(row, context.inputs["clips"], sample_rate=16_000))
        except AudioError as error:
            context.drop(row.id, "unreadable_audio", str(error))
            continue
        texts.append(row.text.strip())
        speakers.append(row.speaker)
    return clips_of(waveforms, texts, speakers, context.config.test_share, context.seed)
