"""Exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AveragedWeights:
    """A running average of a model's floating-point parameters and buffers; frozen parameters are excluded.

    The decay grows from 0 to ``decay`` over the first steps, so that the initial weights are soon forgotten.
    `torch.optim.swa_utils.AveragedModel` also averages frozen parameters, and changes the sign of their zeros:
    ``test_the_averages_of_torch_change_the_sign_of_zeros_that_stay``.
    """

    def __init__(self, model: nn.Module, decay: float):
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self._decay = decay
        self.weights = {name: value.detach().clone() for name, value in _averaged(model)}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Update with the weights after ``step`` steps, counted from 1."""
        decay = min(self._decay, (step - 1) / (step + 9))
        current = dict(_averaged(model))
        for name, average in self.weights.items():
            average.lerp_(current[name], 1.0 - decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """The model with the averaged weights, inside the block."""
        own = {name: value.detach().clone() for name, value in _averaged(model)}
        _copy(self.weights, model)
        try:
            yield
        finally:
            _copy(own, model)


def _averaged(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    # Averaging frozen parameters would change the sign of their zeros.
    still = {name for name, value in model.named_parameters(remove_duplicate=False) if not value.requires_grad}
    return (
        (name, value) for name, value in model.state_dict().items() if value.is_floating_point() and name not in still
    )


@torch.no_grad()
def _copy(weights: dict[str, Tensor], model: nn.Module) -> None:
    targets = dict(_averaged(model))
    for name, value in weights.items():
        targets[name].copy_(value)
