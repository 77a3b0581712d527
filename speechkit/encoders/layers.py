"""Truncation of transformers, hidden states, and weighted sums of layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def truncate_layers(encoder: Any, layer: int, norm_name: str | None) -> None:
    """Truncate a transformer after a layer, to save time and memory.

    With 0 layers an identity layer remains, whose input can be captured.

    Args:
        encoder: has ``layers``.
        layer: number of layers to keep, 0 to all.
        norm_name: the final norm; it is removed with the last layer.
    """
    if layer < len(encoder.layers):
        encoder.layers = encoder.layers[:layer] if layer else nn.ModuleList([_Unchanged(encoder.layers[0])])
        if norm_name is not None:
            setattr(encoder, norm_name, nn.Identity())


class _Unchanged(nn.Module):
    """Identity in place of a transformer layer, with the same form of output."""

    def __init__(self, stock: nn.Module) -> None:
        super().__init__()
        self._with_bias = hasattr(getattr(stock, "attention", None), "gru_rel_pos_const")

    def forward(self, frames: Tensor, *_: Any, **__: Any) -> Tensor | tuple[Tensor, None]:
        """WavLM layers also return the position bias, which is passed on."""
        return (frames, None) if self._with_bias else frames


@contextmanager
def capture_hidden_states(encoder: Any) -> Iterator[list[Tensor]]:
    """Inside the block, calls of a transformer append the input of its first layer and the output of each layer."""
    states: list[Tensor] = []

    def append_input(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        states.append(inputs[0] if inputs else named["hidden_states"])

    def append_output(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    hooks = [encoder.layers[0].register_forward_pre_hook(append_input, with_kwargs=True)]
    hooks += [layer.register_forward_hook(append_output) for layer in encoder.layers]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def capture_outputs(module: nn.Module) -> Iterator[list[Any]]:
    """Inside the block, calls of the module append its outputs."""
    outputs: list[Any] = []
    hook = module.register_forward_hook(lambda _, __, output: outputs.append(output))
    try:
        yield outputs
    finally:
        hook.remove()


class LayerWeights(nn.Module):
    """Weighted sum of layers as in SUPERB: the softmax of one number per layer (Yang et al. 2021)."""

    def __init__(self, layers: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(layers))

    def forward(self, states: Tensor) -> Tensor:
        """(L, ..., D) -> (..., D)."""
        mixed: Tensor = torch.tensordot(self.logits.softmax(0), states, dims=1)
        return mixed
