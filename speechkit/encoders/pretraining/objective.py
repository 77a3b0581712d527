"""What the families of pre-training have in common, so that one stage trains them all."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from torch import Tensor, nn


class Objective(Protocol):
    """A family of pre-training with its network: what a batch holds, what is minimised, what is kept."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""

    def groups(self) -> list[list[nn.Parameter]]:
        """Parameters by learning rate; two groups where some of them start from a teacher's."""

    def prepare(self, batch: dict[str, Tensor], number: int) -> dict[str, Tensor]:
        """A batch of `WaveformBatches` with what this family adds: masks, targets.

        A function of its arguments alone, so that an interrupted run goes on as if it had not been.
        """

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The mean loss and numbers to log."""

    def save(self, folder: Path, half: bool = False) -> None:
        """Write the encoder as `load_encoder` and transformers read it; ``half``: in float16."""
