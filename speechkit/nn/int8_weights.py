"""Weights of a network stored as int8: a quarter of float32, half of float16; computation stays in float32.

A matrix or a convolution's kernel is stored as integers of -127 to 127 and one float16 scale for each of its output
rows, so that a weight is off by half a scale at most. Vectors (biases, norms) and small matrices stay float16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SCALE = ".int8_scale"
"""Suffix of the array that holds the scales of the array of the same name without it."""
LEAST_WEIGHTS = 4096
"""Smaller arrays would save little."""


def quantize_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrays by name, with large matrices as int8 and their scales beside them, everything else as float16.

    Args:
        weights: a state dict; arrays that are not floating point stay as they are.
    """
    import torch

    stored: dict[str, Tensor] = {}
    for name, value in weights.items():
        if not value.is_floating_point():
            stored[name] = value
        elif value.ndim < 2 or value.numel() < LEAST_WEIGHTS:
            stored[name] = value.half()
        else:
            # Rounding the scale up keeps the largest weight of a row within 127 steps.
            scale = (value.float().flatten(1).abs().amax(1) / 127).clamp_min(torch.finfo(torch.float16).tiny)
            scale = torch.nextafter(scale.half(), torch.tensor(torch.inf, dtype=torch.float16))
            rows = scale.float().view(-1, *[1] * (value.ndim - 1))
            stored[name] = (value.float() / rows).round().to(torch.int8)
            stored[name + SCALE] = scale
    return stored


def stored_shapes(stored: Mapping[str, tuple[tuple[int, ...], str]]) -> dict[str, tuple[int, ...]]:
    """Shapes of a network's arrays from what is stored, without the scales.

    Raises:
        ValueError: if a scale belongs to no int8 array, or does not have a number for each of its rows.
    """
    for name, (shape, kind) in stored.items():
        if name.endswith(SCALE):
            matrix, matrix_kind = stored.get(name.removesuffix(SCALE), ((), ""))
            if matrix_kind != "I8" or shape != matrix[:1] or kind != "F16":
                raise ValueError(f"{name} is no scale of an int8 array's rows")
    return {name: shape for name, (shape, _) in stored.items() if not name.endswith(SCALE)}


def dequantize_weights(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrays in float32 from what `quantize_weights` or a plain checkpoint holds; integers without scales stay so."""
    weights: dict[str, Tensor] = {}
    for name, value in stored.items():
        if name.endswith(SCALE):
            continue
        scale = stored.get(name + SCALE)
        if scale is not None:
            weights[name] = value.float() * scale.float().view(-1, *[1] * (value.ndim - 1))
        else:
            weights[name] = value.float() if value.is_floating_point() else value
    return weights
