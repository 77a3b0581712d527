"""Position encodings: sinusoidal and rotary.

Source: Vaswani et al. 2017; Su et al. 2021 (rotary positions).

Notation used for tensor shapes: B batch, T positions, D width, H heads.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor


class Rotation:
    """Rotary position encoding: rotates pairs of dimensions by angles proportional to the position.

    Args:
        positions: (T,) or (B, T), any real numbers; angles are float64 if they are, else float32.
        width: of a head, even.
        longest_period: period of the slowest pair, in radians.
    """

    def __init__(self, positions: Tensor, width: int, longest_period: float = 10_000.0):
        positions = positions if positions.dtype == torch.float64 else positions.float()
        exponents = -torch.arange(0, width, 2, device=positions.device, dtype=positions.dtype) / width
        angles = positions[..., None] * longest_period**exponents  # (B, T, D / 2H)
        if positions.dim() == 2:
            angles = angles[:, None]
        self._cos, self._sin = angles.cos(), angles.sin()

    @classmethod
    def at(cls, position: int, width: int, longest_period: float, like: Tensor) -> Rotation:
        """Rotation by one integer position for all rows, from a table, on the device of ``like``."""
        cos, sin = angles_at(position, width, longest_period, like)
        rotation = cls.__new__(cls)
        rotation._cos, rotation._sin = cos[None], sin[None]
        return rotation

    def __call__(self, heads: Tensor) -> Tensor:
        """(B, H, T, D / H) -> (B, H, T, D / H)."""
        first, second = heads.chunk(2, -1)
        cos, sin = self._cos.to(heads.dtype), self._sin.to(heads.dtype)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def angles_at(position: int, width: int, longest_period: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines (D / 2H,) of a position from a table: float64 if ``like`` is, else float32, on its device."""
    length = max(1024, 1 << position.bit_length())
    precision = torch.float64 if like.dtype == torch.float64 else torch.float32
    cos, sin = _table(length, width, longest_period, precision, like.device)
    return cos[position], sin[position]


@lru_cache(maxsize=16)
def _table(
    length: int, width: int, longest_period: float, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    # Tensors created in inference mode could not be used in training.
    with torch.inference_mode(False):
        rotation = Rotation(torch.arange(length, dtype=dtype, device=device), width, longest_period)
        return rotation._cos, rotation._sin


def sinusoidal(values: Tensor, width: int, scale: float = 1000.0) -> Tensor:
    """Sinusoidal encoding of numbers: (B,) -> (B, width).

    The default scale suits numbers in [0, 1]; with scale 1, integers give Whisper's position encoding.
    """
    rates = torch.exp(-math.log(10_000.0) / (width // 2 - 1) * torch.arange(width // 2, device=values.device))
    angles = scale * values[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], -1)
