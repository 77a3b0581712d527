"""Positions as sines and cosines: added to vectors, or turning pairs of their dimensions.

Source: Vaswani et al. 2017; Su et al. 2021 (rotary positions).

Notation used for tensor shapes: B batch, T positions, D width, H heads.
"""

from __future__ import annotations

import math
from functools import lru_cache

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

    @classmethod
    def at(cls, position: int, width: int, longest_period: float, like: Tensor) -> Rotation:
        """The same at one whole position for all rows, looked up, on the device of ``like``."""
        cos, sin = angles_at(position, width, longest_period, like)
        found = cls.__new__(cls)
        found._cos, found._sin = cos[None], sin[None]
        return found

    def __call__(self, heads: Tensor) -> Tensor:
        """(B, H, T, D / H) -> the same."""
        first, second = heads.chunk(2, -1)
        cos, sin = self._cos.to(heads.dtype), self._sin.to(heads.dtype)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def angles_at(position: int, width: int, longest_period: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines (D / 2H,) of a position, looked up: float64 if ``like`` is, else float32, on its device."""
    length = max(1024, 1 << position.bit_length())
    precision = torch.float64 if like.dtype == torch.float64 else torch.float32
    cos, sin = _table(length, width, longest_period, precision, like.device)
    return cos[position], sin[position]


@lru_cache(maxsize=16)
def _table(
    length: int, width: int, longest_period: float, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    # Made in inference mode, it could take part in no training.
    with torch.inference_mode(False):
        turn = Rotation(torch.arange(length, dtype=dtype, device=device), width, longest_period)
        return turn._cos, turn._sin


def sinusoidal(values: Tensor, width: int, scale: float = 1000.0) -> Tensor:
    """Numbers as sines and cosines: (B,) -> (B, width).

    The scale is for numbers about [0, 1]; with 1, whole numbers give the fixed positions of Whisper.
    """
    rates = torch.exp(-math.log(10_000.0) / (width // 2 - 1) * torch.arange(width // 2, device=values.device))
    angles = scale * values[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], -1)
