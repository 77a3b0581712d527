"""Schedules of noise that end in pure noise, and the levels that sampling visits. Torch-free.

Source: Nichol and Dhariwal 2021 (cosine); Lin et al. 2024 (zero terminal signal); LCM team 2024, section 2.3.

Notation used for array shapes: T levels.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import ConfigError

MOST_NOISE = 0.999
"""Of the signal's power that one level may take."""
OFFSET = 0.008
"""Of the cosine schedule, so that its first levels are not too quiet."""


class ScheduleConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Noise schedule settings.

    Attributes:
        kind: cosine; sigmoid: alpha^2 is the sigmoid of delta - gamma logit(t); quadratic: square roots of the levels'
            noise rise linearly.
        levels: T.
        gamma: of sigmoid, how steeply it falls.
        delta: of sigmoid, where.
        first: of quadratic, noise of the first level.
        last: of quadratic, noise of the last.
    """

    kind: Literal["cosine", "sigmoid", "quadratic"] = "cosine"
    levels: Annotated[int, msgspec.Meta(ge=2, le=10_000)] = 100
    gamma: Annotated[float, msgspec.Meta(gt=0)] = 1.5
    delta: float = -1.0
    first: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.001
    last: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.0012


class SamplingSteps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sampling settings of diffusion.

    Attributes:
        steps: how many, at most the schedule's levels.
        guidance: g: 1 is the condition alone, more goes beyond it.
        rescale: r, from 0 to 1: how far guided noise gets the spread of that with the condition alone.
        initial_noise: factor of the noise to begin with.
        noise_divisor: of the noise foreseen in each step.
    """

    steps: Annotated[int, msgspec.Meta(ge=1)] = 20
    guidance: Annotated[float, msgspec.Meta(ge=0)] = 3.0
    rescale: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.7
    initial_noise: Annotated[float, msgspec.Meta(gt=0)] = 0.6
    noise_divisor: Annotated[float, msgspec.Meta(gt=0)] = 1.00045


def signal_powers(config: ScheduleConfig) -> NDArray[np.float64]:
    """alpha^2 of every level (T,), falling; exactly 0 at the last, so that a network learns to begin from noise."""
    count = config.levels
    if config.kind == "quadratic":
        noise = np.linspace(config.first**0.5, config.last**0.5, count) ** 2
    else:
        times = np.linspace(0, 1, count + 1)
        if config.kind == "cosine":
            powers = np.cos((times + OFFSET) / (1 + OFFSET) * np.pi / 2) ** 2
        else:
            powers = np.ones(count + 1)
            odds = np.log(times[1:-1] / (1 - times[1:-1]))
            powers[1:-1] = 1 / (1 + np.exp(config.gamma * odds - config.delta))
            powers[-1] = 0
        noise = np.minimum(1 - powers[1:] / powers[:-1], MOST_NOISE)
    roots = np.sqrt(np.cumprod(1 - noise))
    scaled: NDArray[np.float64] = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    return scaled


def sampling_levels(levels: int, steps: int) -> list[int]:
    """The levels (steps,) from the last down that sampling visits: as even as whole numbers can be.

    Raises:
        ConfigError: if there are more steps than levels.
    """
    if steps > levels:
        raise ConfigError(f"steps is {steps}, and the schedule has {levels} levels; give at most so many")
    return [round(levels - step * levels / steps) - 1 for step in range(steps)]
