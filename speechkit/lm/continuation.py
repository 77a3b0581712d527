"""Speech continued: the first seconds of a recording as units, and what a unit model says next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from speechkit.errors import UserError
from speechkit.lm.decoding.sampling import Generated, SamplingConfig, sample
from speechkit.units.sequences import UnitSequence

if TYPE_CHECKING:
    from speechkit.lm.networks import UnitNetwork


@dataclass(frozen=True)
class Continuation:
    """What was said, and what follows.

    Attributes:
        prompt: units of the beginning.
        sequence: units behind it, with durations: those of the head, or what units of the prompt last on average.
        ended: whether the model ended it; otherwise it was cut off at the wanted length.
        generated: how it was drawn.
    """

    prompt: UnitSequence
    sequence: UnitSequence
    ended: bool
    generated: Generated


def first_seconds(row: UnitSequence, seconds: float, frames_per_second: float) -> UnitSequence:
    """The beginning of a recording; the unit that it is cut in lasts as long as it is heard."""
    wanted = round(seconds * frames_per_second)
    units: list[int] = []
    durations: list[int] = []
    for unit, duration in zip(row.units, row.durations, strict=True):
        if sum(durations) >= wanted:
            break
        units.append(unit)
        durations.append(min(duration, wanted - sum(durations)))
    return UnitSequence(row.id, units, durations, row.codebook)


def after(row: UnitSequence, units: int) -> UnitSequence:
    """A recording without its first units."""
    return UnitSequence(row.id, row.units[units:], row.durations[units:], row.codebook)


def continue_units(
    network: UnitNetwork,
    prompts: Sequence[UnitSequence],
    seconds: float,
    config: SamplingConfig,
    seeds: Sequence[int],
) -> list[Continuation]:
    """What follows each prompt, for ``seconds`` at most; ``max_tokens`` of the sampling bounds it, too.

    Args:
        network: see `speechkit.lm.networks`.
        prompts: units of beginnings.
        seconds: of each continuation.
        config: of the sampling.
        seeds: one a prompt; a continuation depends on its own alone.

    Raises:
        UserError: if a prompt is of other units than the network's, empty, or longer than its context.
    """
    from speechkit.lm.decoder import NetworkDecoder

    vocabulary = network.vocabulary
    rate = vocabulary.units.frames_per_second
    for row in prompts:
        vocabulary.check(row.id, row.units, row.codebook)
        if len(row.units) + 1 >= network.context:
            raise UserError(
                f"{row.id}: the prompt has {len(row.units)} units and the model reads {network.context} at once, the "
                "boundary among them; give fewer seconds of it"
            )
    frames = round(seconds * rate)
    # Units last a frame at least; most sequences are cut off by their durations much earlier.
    bounded = msgspec.structs.replace(config, max_tokens=min(config.max_tokens, max(1, frames)))
    generators = [np.random.default_rng(seed) for seed in seeds]
    begun = [[vocabulary.boundary, *row.units] for row in prompts]
    drawn = sample(NetworkDecoder(network), begun, bounded, generators)
    found = []
    for row, generated, generator in zip(prompts, drawn, generators, strict=True):
        durations = _durations(network, row, generated.tokens, generator)
        cut = _cut(UnitSequence(row.id, generated.tokens, durations, row.codebook), frames)
        found.append(Continuation(row, cut, generated.ended and len(cut.units) == len(generated.tokens), generated))
    return found


def likely_tokens(row: UnitSequence, seconds: float, frames_per_second: float) -> int:
    """How many units fill so many seconds at half a prompt's mean duration, so that durations cut and not this."""
    mean = sum(row.durations) / max(1, len(row.units))
    return max(8, math.ceil(2 * seconds * frames_per_second / mean))


def _durations(
    network: UnitNetwork, prompt: UnitSequence, units: Sequence[int], generator: np.random.Generator
) -> list[int]:
    if not units:
        return []
    if network.duration_head is None:
        return [max(1, round(sum(prompt.durations) / len(prompt.durations)))] * len(units)
    import torch

    with torch.inference_mode():
        device = next(network.parameters()).device
        tokens = torch.tensor([[network.vocabulary.boundary, *prompt.units, *units]], device=device)
        hidden = network.hidden(tokens)[0, 1 + len(prompt.units) :]
        return network.duration_head.sample(hidden, generator, before=prompt.durations[-1])


def _cut(row: UnitSequence, frames: int) -> UnitSequence:
    ends = np.cumsum(row.durations)
    kept = int(np.searchsorted(ends, frames, side="left")) + 1
    durations = row.durations[:kept]
    if sum(durations) > frames:
        durations = [*durations[:-1], durations[-1] - (sum(durations) - frames)]
    return UnitSequence(row.id, row.units[:kept], durations, row.codebook)
