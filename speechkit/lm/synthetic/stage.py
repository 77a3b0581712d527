"""The stage of the recipe sequence_layers that trains and evaluates systems; each result is kept once it is done."""

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

Evaluate = Callable[[Path], "Cell | None"]
CELL_DROPS = ("no_text_or_speaker", "unreadable_audio")
FRAMES_PER_SECOND = 50.0
"""Frame rate of the units."""


def compare(context: Context) -> None:
    """Train and evaluate each system on each task; a resumed run keeps finished results."""
    config = context.config
    cells: list[Cell] = []
    total = sum(len(config.waveform_systems if task == "waveforms" else config.systems) for task in config.tasks)
    for task in config.tasks:
        untrained, systems = _task(context, task)
        cells += untrained
        for number, (system, evaluate) in enumerate(systems):
            name = f"{task}-{number}"
            cell = context.kept(name, Cell, partial(evaluate, context.scratch / name))
            cells.append(cell)
            result = (
                f"{cell.bits_per_second:.1f} bits/s" if cell.accuracy is None else f"{100 * cell.accuracy:.1f} % right"
            )
            context.log(f"{task}, {system}: {result}")
            context.progress.update(sum(done.steps > 0 for done in cells), total)
    context.write("cells.jsonl", cells)


def _task(context: Context, task: str) -> tuple[list[Cell], list[tuple[str, Evaluate]]]:
    """Results of systems without training, and for each other system a function that trains it in a folder."""
    config, run = context.config, (context.seed, context.device, lambda: context.interrupted)
    if task == "waveforms":
        from speechkit.lm.synthetic.waveform_classes import waveforms_cell

        clips = _clips(context)
        return [], [
            (name, partial(waveforms_cell, name, config, clips, seed=run[0], device=run[1], should_stop=run[2]))
            for name in config.waveform_systems
        ]
    if task == "units":
        from speechkit.lm.synthetic.unit_bits import units_cell

        train, test = list(context.read("train_units")), list(context.read("test_units"))
        units = _unit_set(train, test)
        return [], [
            (
                name,
                partial(units_cell, name, config, units, train, test, seed=run[0], device=run[1], should_stop=run[2]),
            )
            for name in config.systems
        ]
    from speechkit.lm.synthetic.comparison import SyntheticTask, evaluate_system

    bank = None
    if task == "long_recall" and "train_units" in context.inputs:
        rows = list(context.read("train_units"))
        bank = np.concatenate([np.asarray(row.units) for row in rows]), _unit_set(rows, rows).clusters
    synthetic = SyntheticTask(task, config, context.seed, bank)  # type: ignore[arg-type]

    def evaluator(system: Any) -> Evaluate:
        return lambda folder: evaluate_system(synthetic, system, folder, *run)

    return synthetic.untrained(), [(name, evaluator(name)) for name in config.systems]


def _unit_set(train: Sequence[UnitSequence], test: Sequence[UnitSequence]) -> UnitSet:
    """The common unit set; its size is the largest unit plus 1.

    Raises:
        UserError: if there are no units, or they are of several codebooks.
    """
    if len({row.codebook for row in (*train, *test)}) != 1:
        raise UserError("train_units and test_units are empty or of several codebooks; give units of one")
    return UnitSet(train[0].codebook, 1 + max(max(row.units, default=0) for row in (*train, *test)), FRAMES_PER_SECOND)


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
