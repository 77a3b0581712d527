"""Interface of the pre-training families, and their common objective."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from speechkit.training.objective import Objective, Turn, mean_losses

WaveformBatch = dict[str, Tensor]


class Family(Protocol):
    """A family of pre-training with its network: what a batch holds, what is minimised, what is kept."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""

    def groups(self) -> list[list[nn.Parameter]]:
        """Parameters by learning rate; two groups where some of them start from a teacher's."""

    def prepare(self, batch: WaveformBatch, number: int) -> WaveformBatch:
        """A batch of `WaveformBatches` with what this family adds: masks, targets.

        Depends only on its arguments, for exact resume.
        """

    def loss(self, model: nn.Module, batch: WaveformBatch) -> tuple[Tensor, dict[str, float]]:
        """The mean loss and numbers to log."""


def pretraining(
    family: Family,
    batches: Callable[[int], WaveformBatch],
    save: Callable[[Path], None],
    judged: Callable[[int], WaveformBatch],
    judged_batches: int,
    judge: Family | None = None,
) -> Objective:
    """The objective of a family.

    Args:
        family: what is learnt.
        batches: `WaveformBatches` to learn from.
        save: writes the encoder into a folder, as `load_encoder` reads it.
        judged: held-out batches for evaluation.
        judged_batches: number of these.
        judge: of the same network, prepares the held-out batches where their targets are stored apart.
    """
    judge = judge or family
    return Objective(
        family.network,
        [Turn(family.loss, family.groups())],
        lambda number: family.prepare(batches(number), number),
        mean_losses(judge.loss, [judge.prepare(judged(number), number) for number in range(judged_batches)]),
        save=save,
    )
