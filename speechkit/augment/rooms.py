"""Impulse responses of shoebox rooms by the image-source method.

Source: Allen and Berkley 1979, Image method for efficiently simulating small-room acoustics; Eyring 1930 for the
absorption that gives a reverberation time.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import ConfigError
from speechkit.io.arrays import Float

Vector = NDArray[np.float64]
SPEED_OF_SOUND = 343.0
"""Metres a second at 20 °C."""
WALL_DISTANCE = 0.3
"""Metres between a wall and a mouth or microphone."""
LOWEST_HERTZ = 50.0


class RoomConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Distribution of rooms, uniform over ranges: sides in metres, reverberation time T60 in seconds."""

    length: tuple[float, float] = (3.0, 10.0)
    width: tuple[float, float] = (3.0, 8.0)
    height: tuple[float, float] = (2.4, 4.0)
    reverberation: tuple[float, float] = (0.2, 0.6)

    def __post_init__(self) -> None:
        for name in ("length", "width", "height", "reverberation"):
            low, high = getattr(self, name)
            least = 4 * WALL_DISTANCE if name != "reverberation" else 0.05
            if not least <= low <= high:
                raise ConfigError(f"{name} is {low} to {high}; the bounds must be in order and at least {least:g}")


def draw_response(generator: np.random.Generator, config: RoomConfig, sample_rate: int = 16_000) -> Float:
    """Impulse response of a random room, source and microphone; begins with the direct sound."""
    return draw_responses(generator, config, 1, sample_rate)[0]


def draw_responses(
    generator: np.random.Generator, config: RoomConfig, speakers: int, sample_rate: int = 16_000
) -> list[Float]:
    """Impulse responses of one room for several source positions and one microphone.

    Each begins with the direct sound and has unit energy, so that distance changes only the reverberation.
    """
    from scipy.signal import butter, sosfilt

    sides = np.array([generator.uniform(*config.length), generator.uniform(*config.width), 0.0])
    sides[2] = generator.uniform(*config.height)
    seconds = generator.uniform(*config.reverberation)
    positions = generator.uniform(WALL_DISTANCE, sides - WALL_DISTANCE, (speakers + 1, 3))
    # All images have one sign, which exaggerates the lowest frequencies; Allen and Berkley high-pass them too.
    highpass = butter(2, LOWEST_HERTZ, "highpass", fs=sample_rate, output="sos")
    return [
        np.asarray(sosfilt(highpass, image_response(sides, position, positions[-1], seconds, sample_rate)), np.float32)
        for position in positions[:-1]
    ]


def wall_reflection(sides: Vector, seconds: float) -> float:
    """Reflection coefficient of the walls (all equal) for a reverberation time, by Eyring's formula."""
    volume = float(np.prod(sides))
    surface = 2 * float(sides[0] * sides[1] + sides[0] * sides[2] + sides[1] * sides[2])
    return math.exp(-0.5 * 24 * math.log(10) * volume / (SPEED_OF_SOUND * surface * seconds))


def image_response(sides: Vector, source: Vector, microphone: Vector, seconds: float, sample_rate: int) -> Float:
    """Response of a room for ``seconds`` after the direct sound, of unit energy.

    Args:
        sides: length, width and height in metres (3,).
        source: in metres from a corner (3,).
        microphone: likewise.
        seconds: reverberation time, from which the walls' absorption follows.
        sample_rate: in hertz.
    """
    reflection = wall_reflection(sides, seconds)
    reach = SPEED_OF_SOUND * seconds + float(np.linalg.norm(source - microphone))
    squared: list[Vector] = []
    bounces: list[NDArray[np.int64]] = []
    for axis in range(3):
        # Along an axis the images of the source lie at 2 n side + source (2 |n| bounces) and at 2 n side - source.
        number = np.arange(-math.ceil(reach / (2 * sides[axis])) - 1, math.ceil(reach / (2 * sides[axis])) + 2)
        position = np.concatenate([2 * number * sides[axis] + source[axis], 2 * number * sides[axis] - source[axis]])
        count = np.concatenate([2 * np.abs(number), np.abs(number - 1) + np.abs(number)])
        near = np.abs(position - microphone[axis]) <= reach
        squared.append((position[near] - microphone[axis]) ** 2)
        bounces.append(count[near])
    length = int(seconds * sample_rate)
    direct = float(np.linalg.norm(source - microphone)) / SPEED_OF_SOUND * sample_rate
    response = np.zeros(length + 1)
    across = (squared[1][:, None] + squared[2]).ravel()
    across_bounces = (bounces[1][:, None] + bounces[2]).ravel()
    for one, count in zip(squared[0], bounces[0], strict=True):
        distance = np.sqrt(one + across)
        at = distance / SPEED_OF_SOUND * sample_rate - direct
        within = at < length - 1
        size = reflection ** (count + across_bounces[within]) / np.maximum(distance[within], 0.1)
        # Fractional delays are split between two samples, so that all distances differ.
        whole = np.maximum(0, np.floor(at[within] + 1e-9)).astype(np.int64)
        share = np.clip(at[within] - whole, 0, 1)
        response += np.bincount(whole, size * (1 - share), len(response))
        response += np.bincount(whole + 1, size * share, len(response))
    return np.asarray(response / np.sqrt(np.sum(response**2)), np.float32)
