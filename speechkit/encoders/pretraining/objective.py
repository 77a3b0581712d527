"""Interface of the pre-training families, and their common objective."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from speechkit.training.objective import Objective, Turn, mean_losses

WaveformBatch = dict[str, Tensor]


class Family(Protocol):
    """A family of pre-training with its network: preparation of batches, loss and parameter groups."""

    @property
    def network(self) -> nn.Module:
        """The trained network."""

    def groups(self) -> list[list[nn.Parameter]]:
        """Parameters by learning rate; two groups where some of them start from a teacher's."""

    def prepare(self, batch: WaveformBatch, number: int) -> WaveformBatch:
        """A batch of `WaveformBatches` with the family's masks and targets.

        Depends only on its arguments, for exact resume.
        """

    def loss(self, model: nn.Module, batch: WaveformBatch) -> tuple[Tensor, dict[str, float]]:
        """The mean loss and numbers to log."""


def pretraining(
    family: Family,
    batches: Callable[[int], WaveformBatch],
    save: Callable[[Path], None],
    held_out: Callable[[int], WaveformBatch],
    held_out_batches: int,
    evaluation: Family | None = None,
) -> Objective:
    """The objective of a family.

    Args:
        family: the family to train.
        batches: training `WaveformBatches`.
        save: writes the encoder into a folder, as `load_encoder` reads it.
        held_out: held-out batches for validation.
        held_out_batches: number of these.
        evaluation: family of the same network that prepares held-out batches, if their targets are stored separately.
    """
    evaluation = evaluation or family
    return Objective(
        family.network,
        [Turn(family.loss, family.groups())],
        lambda number: family.prepare(batches(number), number),
        mean_losses(
            evaluation.loss, [evaluation.prepare(held_out(number), number) for number in range(held_out_batches)]
        ),
        save=save,
    )
