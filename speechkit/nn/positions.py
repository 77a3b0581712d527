"""Positions as sines and cosines: added to vectors, or turning pairs of their dimensions.

Source: Vaswani et al. 2017; Su et al. 2021 (rotary positions).

Notation used for tensor shapes: B batch, T positions, D width, H heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Rotation:
    """Turns pairs of dimensions by angles that grow with the position, so that products see distances alone.

    Args:
        positions: (T,) or (B, T), any real numbers; angles are float64 if they are, else float32.
        width: of a head, even.
        longest_period: of the slowest pair, in radians.
    """

    def __init__(self, positions: Tensor, width: int, longest_period: float = 10_000.0):
        positions = positions if positions.dtype == torch.float64 else positions.float()
        exponents = -torch.arange(0, width, 2, device=positions.device, dtype=positions.dtype) / width
        angles = positions[..., None] * longest_period**exponents  # (B, T, D / 2H)
        if positions.dim() == 2:
            angles = angles[:, None]
        self._cos, self._sin = angles.cos(), angles.sin()

    def __call__(self, heads: Tensor) -> Tensor:
        """(B, H, T, D / H) -> the same."""
        first, second = heads.chunk(2, -1)
        cos, sin = self._cos.to(heads.dtype), self._sin.to(heads.dtype)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def sinusoidal(values: Tensor, width: int, scale: float = 1000.0) -> Tensor:
    """Numbers as sines and cosines: (B,) -> (B, width).

    The scale is for numbers about [0, 1]; with 1, whole numbers give the fixed positions of Whisper.
    """
    rates = torch.exp(-math.log(10_000.0) / (width // 2 - 1) * torch.arange(width // 2, device=values.device))
    angles = scale * values[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], -1)
