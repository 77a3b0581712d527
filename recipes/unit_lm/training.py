"""Stages 4 and 5: the unit model, and an LSTM beside it."""

from __future__ import annotations

from typing import Any

import msgspec

from speechkit.lm.records import TokenSpec
from speechkit.lm.unit_training import UnitTraining
from speechkit.pipeline import Context
from speechkit.training import Objective, TrainingConfig
from speechkit.units.sequences import UnitSequence

LOOP = TrainingConfig(
    steps=3000, learning_rates=(1e-3,), warmup_steps=100, weight_decay=0.1, clip_norm=0.5, average_decay=0.99,
    evaluate_every=250, save_every=250,
)  # fmt: skip


class TrainConfig(msgspec.Struct, frozen=True):
    """The unit model.

    Attributes:
        unit_model: its size and layers, and how it learns.
        half: store float16.
        processes: of this machine that share each step; 0 is one for each GPU.
    """

    unit_model: UnitTraining = UnitTraining(loop=LOOP)
    half: bool = True
    processes: int = 1


class BaselineConfig(msgspec.Struct, frozen=True):
    """The model beside it; see `TrainConfig`."""

    unit_model: UnitTraining = UnitTraining(layer="lstm", layers=3, loop=LOOP)
    half: bool = True
    processes: int = 1


def train(context: Context) -> None:
    """Train for as long as the configuration says; an interrupted run goes on from its checkpoint."""
    from speechkit.training import train_stage

    config = context.config
    train_stage(context, objective, config.unit_model.loop, processes=config.processes)


def objective(context: Context) -> Objective:
    """The model on the tokens of stage 3."""
    from speechkit.lm.unit_training import new_network, unit_objective

    config: Any = context.config
    spec = read_vocabulary(context)
    rows = part_rows(context)
    network = new_network(config.unit_model, spec.tokens)
    weights = sum(each.numel() for each in network.parameters())
    context.say(f"{weights:,} weights; {len(rows['train'])} recordings teach and {len(rows['dev'])} look on")
    return unit_objective(
        network,
        rows["train"],
        rows["dev"],
        config.unit_model,
        lambda folder: network.save_pretrained(folder, half=config.half),
    )


def read_vocabulary(context: Context) -> TokenSpec:
    """What the tokens are."""
    return msgspec.json.decode(context.inputs["vocabulary"].read_bytes(), type=TokenSpec)


def part_rows(context: Context) -> dict[str, list[UnitSequence]]:
    """Tokens by part."""
    parts = {row.id: row.custom["part"] for row in context.read("recordings")}
    found: dict[str, list[UnitSequence]] = {"train": [], "dev": [], "test": []}
    for row in context.read("tokens"):
        found[parts[row.id]].append(row)
    return found
