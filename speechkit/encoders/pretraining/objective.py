"""What the families of pre-training have in common, so that one stage trains them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn


class Objective(Protocol):
    """A family of pre-training with its network: what a batch holds, what is minimised, what is kept."""

    network: nn.Module

    def groups(self) -> list[list[nn.Parameter]]:
        """Parameters by learning rate: those that start from random weights first, then those that do not."""

    def make_batch(self, number: int) -> Any:
        """The micro-batch of a number: a function of it alone, so that an interrupted run repeats nothing."""

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """The mean loss and numbers to log."""

    def save(self, folder: Path) -> None:
        """Write the encoder as `load_encoder` and transformers read it."""
