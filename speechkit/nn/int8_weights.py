"""Weight-only int8 storage: a quarter of the size of float32, half of float16; computation is in float32.

A matrix or convolution kernel is stored as integers from -127 to 127 with a float16 scale per output row, with an error
of at most half a scale. Vectors (biases, norms) and small matrices are stored as float16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SCALE = ".int8_scale"
"""Suffix of the array with the scales of an int8 array."""
MIN_WEIGHTS = 4096
"""Smaller arrays are stored as float16."""


def quantize_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Quantize large matrices to int8 with scales, and convert everything else to float16.

    Args:
        weights: a state dict; integer arrays are unchanged.
    """
    import torch

    stored: dict[str, Tensor] = {}
    for name, value in weights.items():
        if not value.is_floating_point():
            stored[name] = value
        elif value.ndim < 2 or value.numel() < MIN_WEIGHTS:
            stored[name] = value.half()
        else:
            # Rounding the scale up keeps the largest weight of a row within 127.
            scale = (value.float().flatten(1).abs().amax(1) / 127).clamp_min(torch.finfo(torch.float16).tiny)
            scale = torch.nextafter(scale.half(), torch.tensor(torch.inf, dtype=torch.float16))
            rows = scale.float().view(-1, *[1] * (value.ndim - 1))
            stored[name] = (value.float() / rows).round().to(torch.int8)
            stored[name + SCALE] = scale
    return stored


def stored_shapes(stored: Mapping[str, tuple[tuple[int, ...], str]]) -> dict[str, tuple[int, ...]]:
    """Shapes of a network's arrays from those of a checkpoint, without the scales.

    Raises:
        ValueError: if a scale does not fit an int8 array.
    """
    for name, (shape, kind) in stored.items():
        if name.endswith(SCALE):
            matrix, matrix_kind = stored.get(name.removesuffix(SCALE), ((), ""))
            if matrix_kind != "I8" or shape != matrix[:1] or kind != "F16":
                raise ValueError(f"{name} does not fit the rows of an int8 array")
    return {name: shape for name, (shape, _) in stored.items() if not name.endswith(SCALE)}


def dequantize_weights(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Float32 arrays from the output of `quantize_weights` or a plain checkpoint; integers without scales unchanged."""
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
