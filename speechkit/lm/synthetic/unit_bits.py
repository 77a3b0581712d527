"""Comparison of sequence layers on speech units: bits per second of unseen speakers, by models of equal size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from speechkit.lm.synthetic.comparison import SYSTEMS, equal_stack, state_kilobytes
from speechkit.lm.synthetic.records import Cell, ComparisonConfig, System
from speechkit.lm.unit_costs import network_costs, summarize
from speechkit.lm.unit_model import UnitModel, UnitModelConfig
from speechkit.lm.unit_training import UnitTraining, unit_objective
from speechkit.lm.vocabulary import UnitVocabulary
from speechkit.training.loop import train_measured
from speechkit.units.quantizers import UnitSet
from speechkit.units.sequences import UnitSequence


def units_cell(
    system: System,
    config: ComparisonConfig,
    units: UnitSet,
    train_rows: Sequence[UnitSequence],
    test_rows: Sequence[UnitSequence],
    folder: Path,
    seed: int,
    device: str,
    should_stop: Callable[[], bool],
) -> Cell | None:
    """Train a system on units without durations and evaluate it; None if stopped before the end.

    The protocol of the bits is that of `speechkit.lm.unit_costs`; the model is trained on rows of ``context`` units.
    """
    torch.manual_seed(seed)
    vocabulary = UnitVocabulary(units)

    def config_of(stack: object) -> UnitModelConfig:
        return UnitModelConfig(vocabulary=vocabulary, stack=stack, context=config.context)  # type: ignore[arg-type]

    stack = equal_stack(SYSTEMS[system], config.width, config.parameters, lambda stack: UnitModel(config_of(stack)))
    network = UnitModel(config_of(stack))
    settings = UnitTraining(
        duration_bins=0, context=config.context, rows=config.rows, dropout=0.0, loop=config.training
    )
    objective = unit_objective(network, train_rows, [], settings)
    complete, seconds = train_measured(objective, config.training, folder, should_stop=should_stop, device=device)
    if not complete:
        return None
    costs = summarize(system, list(network_costs(network, test_rows)))
    return Cell(
        task="units",
        system=system,
        bits_per_second=costs.bits_per_second,
        bits_interval=costs.interval,
        parameters=sum(weight.numel() for weight in network.parameters()),
        step_seconds=seconds,
        steps=config.training.steps,
        state_kilobytes=state_kilobytes(network.stack),
    )
