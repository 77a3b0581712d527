"""Noise schedules with zero terminal signal, and the levels visited by sampling. Torch-free.

Source: Nichol and Dhariwal 2021 (cosine); Lin et al. 2024 (zero terminal signal); LCM team 2024, section 2.3.

Notation used for array shapes: T levels.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import ConfigError

MAX_BETA = 0.999
"""Maximum share of the signal's power removed by one level."""
OFFSET = 0.008
"""Offset of the cosine schedule, which keeps its first levels from having too little noise."""


class ScheduleConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Noise schedule settings.

    Attributes:
        kind: cosine; sigmoid: alpha^2 is the sigmoid of delta - gamma logit(t); quadratic: the square root of beta is
            linear in the level.
        levels: T.
        gamma: of sigmoid, slope.
        delta: of sigmoid, offset.
        first: of quadratic, beta of the first level.
        last: of quadratic, beta of the last level.
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
        steps: number of steps, at most the schedule's levels.
        guidance: classifier-free guidance scale; 1 is the conditional prediction.
        rescale: 0 to 1: interpolation of the guided noise's standard deviation to that of the conditional noise.
        initial_noise: scale of the initial noise.
        noise_divisor: divisor of the predicted noise in each step.
    """

    steps: Annotated[int, msgspec.Meta(ge=1)] = 20
    guidance: Annotated[float, msgspec.Meta(ge=0)] = 3.0
    rescale: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.7
    initial_noise: Annotated[float, msgspec.Meta(gt=0)] = 0.6
    noise_divisor: Annotated[float, msgspec.Meta(gt=0)] = 1.00045


def signal_powers(config: ScheduleConfig) -> NDArray[np.float64]:
    """alpha^2 of every level (T,), decreasing to exactly 0 (zero terminal signal)."""
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
        noise = np.minimum(1 - powers[1:] / powers[:-1], MAX_BETA)
    roots = np.sqrt(np.cumprod(1 - noise))
    scaled: NDArray[np.float64] = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    return scaled


def sampling_levels(levels: int, steps: int) -> list[int]:
    """Levels (steps,) visited by sampling, from the last down, evenly spaced up to rounding.

    Raises:
        ConfigError: if there are more steps than levels.
    """
    if steps > levels:
        raise ConfigError(f"steps is {steps}, but the schedule has {levels} levels; give at most {levels}")
    return [round(levels - step * levels / steps) - 1 for step in range(steps)]
