"""What a training minimises, apart from how long and on what machine it does."""

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
    """One optimiser's part of each step: its loss moves its own parameters, all others are constants meanwhile.

    Attributes:
        loss: what is minimised.
        groups: parameters of the network by learning rate.
        name: stands before what is logged where turns are several.
        betas: of AdamW.
    """

    loss: LossFunction
    groups: Sequence[list[nn.Parameter]]
    name: str = ""
    betas: tuple[float, float] = (0.9, 0.98)


@dataclass(frozen=True)
class Objective:
    """A network and how it learns.

    Attributes:
        network: all that is trained, averaged and kept in checkpoints; several networks are one module that holds them.
        turns: what happens in each step, in order; each sees what the one before it has changed. One for most
            trainings; a discriminator's and a generator's for adversarial ones.
        batch: the micro-batch of a number, and of nothing else, so that a resumed run sees what an unbroken one does;
            called in a second thread, ahead of time. All turns of a step see the same.
        evaluate: called with the averaged weights, in the first process alone; its numbers are logged.
        early_stopping: ends the training by one of these numbers.
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
    """An evaluation: the means over some batches of a loss and its numbers, ``dev_`` before them; None without any."""
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
    """The same batch with all its tensors, in whatever dicts, lists and tuples, on a device."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch
