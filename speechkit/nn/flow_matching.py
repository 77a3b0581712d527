"""Flow matching: generation by integrating a learned velocity field from noise to data.

Source: Lipman et al. 2023, Liu et al. 2023 (straight paths), Ho and Salimans 2022 (guidance), Chen et al. 2024 (sway),
Li and He 2025, Back to Basics: Let Denoising Generative Models Denoise (prediction of the data).

Notation used for tensor shapes: B batch, T frames, D width of a frame. Time runs from 0 (noise) to 1 (data).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from speechkit.nn.masks import length_mask

Velocity = Callable[[Tensor, Tensor], Tensor]
"""From points (B, T, D) and their times (B,) to velocities (B, T, D)."""
Solver = Literal["euler", "midpoint"]
LEAST_REST = 0.1
"""Lower bound of 1 - t where a velocity is made of predicted data."""


def on_path(noise: Tensor, data: Tensor, time: Tensor) -> Tensor:
    """Points (1 - t) noise + t data on straight paths: (B, T, D) twice and (B,) -> (B, T, D)."""
    share = time.view(-1, *[1] * (data.dim() - 1))
    return (1.0 - share) * noise + share * data


def velocity_loss(velocity: Velocity, data: Tensor, lengths: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Mean squared error of the velocity to data - noise over all non-padding frames.

    Shapes: data and noise (B, T, D); lengths (B,), with at least one frame in total; time (B,).
    """
    error = (velocity(on_path(noise, data, time), time) - (data - noise)).square().mean(-1)  # (B, T)
    inside = length_mask(lengths, data.shape[1])
    return error.masked_fill(~inside, 0.0).sum() / inside.sum()


def velocity_to(data: Tensor, points: Tensor, time: Tensor) -> Tensor:
    """Velocity (data - points) / (1 - t) that leads from points (B, T, D) at times (B,) to predicted data (B, T, D).

    1 - t is at least `LEAST_REST`, which bounds the weight of errors near the data.
    """
    rest = (1.0 - time).clamp_min(LEAST_REST).view(-1, *[1] * (data.dim() - 1))
    return (data - points) / rest


def item_noise(seeds: Sequence[int], lengths: Sequence[int], width: int) -> Tensor:
    """Gaussian noise (B, T, D), zero for padding; an item's noise depends only on its seed and length.

    It is drawn on the CPU, which makes seeds independent of the device.

    Raises:
        ValueError: if the numbers of seeds and lengths differ.
    """
    noise = torch.zeros(len(lengths), max(lengths, default=0), width)
    for row, seed, length in zip(noise, seeds, lengths, strict=True):
        row[:length] = torch.randn(length, width, generator=torch.Generator().manual_seed(seed))
    return noise


def time_grid(steps: int, sway: float = 0.0) -> Tensor:
    """Times (steps + 1,) from 0 to 1: evenly spaced, or with sway sampling t + sway (cos(pi t / 2) - 1 + t).

    A negative sway concentrates steps near the noise; F5-TTS uses -1.

    Raises:
        ValueError: if there are no steps, or ``sway`` is outside [-1, 2 / (pi - 2)], where times would decrease.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; give at least 1")
    if not -1.0 <= sway <= 2.0 / (math.pi - 2.0):
        raise ValueError(f"sway is {sway}; give a number from -1 to {2.0 / (math.pi - 2.0):.2f}")
    even = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
    swayed = even + sway * (torch.cos(math.pi / 2 * even) - 1.0 + even)
    return swayed.clamp(0.0, 1.0).float()


@torch.no_grad()
def solve(velocity: Velocity, noise: Tensor, steps: int, solver: Solver = "euler", sway: float = 0.0) -> Tensor:
    """Integrate from noise (B, T, D) to data (B, T, D) in ``steps`` steps.

    ``euler`` evaluates the velocity once per step; ``midpoint`` twice, with second-order accuracy.

    Raises:
        ValueError: as `time_grid`.
    """
    point = noise
    times = time_grid(steps, sway).tolist()
    for begin, end in pairwise(times):
        slope = velocity(point, noise.new_full((len(noise),), begin))
        if solver == "midpoint":
            halfway = point + (end - begin) / 2 * slope
            slope = velocity(halfway, noise.new_full((len(noise),), (begin + end) / 2))
        point = point + (end - begin) * slope
    return point


def guided(conditional: Velocity, unconditional: Velocity, strength: float) -> Velocity:
    """Classifier-free guidance: conditional + ``strength`` * (conditional - unconditional).

    With strength 0 the unconditional velocity is not evaluated.
    """

    def velocity(point: Tensor, time: Tensor) -> Tensor:
        with_condition = conditional(point, time)
        if not strength:
            return with_condition
        return with_condition + strength * (with_condition - unconditional(point, time))

    return velocity
