"""The objective of a training, independent of its schedule and hardware."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechkit.io.arrays import Float
from speechkit.training.early_stopping import EarlyStopping

Batch = Any
LossFunction = Callable[[nn.Module, Batch], tuple[Tensor, dict[str, float]]]
"""(network, batch) to the mean loss and numbers to log."""
Evaluation = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True)
class Turn:
    """One optimiser's part of each step: its loss updates its own parameters, all others are constants.

    Attributes:
        loss: what is minimised.
        groups: parameters of the network by learning rate.
        name: prefix of logged values if there are several turns.
        betas: of AdamW.
    """

    loss: LossFunction
    groups: Sequence[list[nn.Parameter]]
    name: str = ""
    betas: tuple[float, float] = (0.9, 0.98)


@dataclass(frozen=True)
class Objective:
    """A network and its training.

    Attributes:
        network: everything trained, averaged and saved in checkpoints; wrap several networks in one module.
        turns: run in order in each step; usually one, for adversarial training a discriminator's and a generator's.
        batch: function from a number to its micro-batch, for exact resume; called ahead of time in a second thread. All
            turns of a step get the same batches.
        evaluate: called with the averaged weights, in the first process only; its numbers are logged.
        early_stopping: stops training by one of these numbers.
        save: writes the trained network into a folder, for `speechkit.training.stage.train_stage`.
        listen: sounds by name, each with its sample rate, for TensorBoard; called after every evaluation.
    """

    network: nn.Module
    turns: Sequence[Turn]
    batch: Callable[[int], Batch]
    evaluate: Evaluation | None = None
    early_stopping: EarlyStopping | None = None
    save: Callable[[Path], None] | None = None
    listen: Callable[[nn.Module], dict[str, tuple[Float, int]]] | None = None


def mean_losses(loss: LossFunction, batches: Sequence[Batch]) -> Evaluation | None:
    """An evaluation: means of a loss and its numbers over batches, with the prefix ``dev_``; None without batches."""
    if not batches:
        return None

    def evaluate(network: nn.Module) -> dict[str, float]:
        sums: dict[str, float] = {}
        device = next(network.parameters()).device
        for number, batch in enumerate(batches):
            torch.manual_seed(number)
            mean, values = loss(network, to_device(batch, device))
            for name, value in {"loss": float(mean), **values}.items():
                sums[f"dev_{name}"] = sums.get(f"dev_{name}", 0.0) + value / len(batches)
        return sums

    return evaluate


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with all tensors, in nested dicts, lists and tuples, moved to a device."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch
