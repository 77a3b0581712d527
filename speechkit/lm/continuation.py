"""Speech continuation: prompt a unit model with the first seconds of a recording and sample what follows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from speechkit.errors import ConfigError, UserError
from speechkit.lm.decoding.sampling import Generated, SamplingConfig, sample
from speechkit.units.sequences import UnitSequence

if TYPE_CHECKING:
    from speechkit.lm.networks import UnitNetwork

MAX_SECONDS = 3600.0
"""Upper limit of a continuation: the cache of attention layers grows with it."""


@dataclass(frozen=True)
class Continuation:
    """A prompt and its continuation.

    Attributes:
        prompt: units of the first seconds.
        sequence: generated units with durations: from the duration head, or else the mean duration in the prompt.
        ended: whether the model generated the end token; otherwise the sequence was cut at the requested length.
        generated: the sampling result.
    """

    prompt: UnitSequence
    sequence: UnitSequence
    ended: bool
    generated: Generated


def first_seconds(row: UnitSequence, seconds: float, frames_per_second: float) -> UnitSequence:
    """First ``seconds`` of a recording; the duration of the unit at the cut is shortened accordingly."""
    frames = round(seconds * frames_per_second)
    units: list[int] = []
    durations: list[int] = []
    for unit, duration in zip(row.units, row.durations, strict=True):
        if sum(durations) >= frames:
            break
        units.append(unit)
        durations.append(min(duration, frames - sum(durations)))
    return UnitSequence(row.id, units, durations, row.codebook)


def after(row: UnitSequence, units: int) -> UnitSequence:
    """A recording without its first ``units`` units."""
    return UnitSequence(row.id, row.units[units:], row.durations[units:], row.codebook)


def continue_units(
    network: UnitNetwork,
    prompts: Sequence[UnitSequence],
    seconds: float,
    config: SamplingConfig,
    seeds: Sequence[int],
    reads: int = 1,
) -> list[Continuation]:
    """Sample a continuation of each prompt, at most ``seconds`` and ``config.max_tokens`` long.

    With ``reads=2`` (JRT-Prompt, Arora et al. 2024, Just read twice) the prompt is repeated before it is continued: a
    layer with a state of constant size then knows, at its second reading, what the prompt holds.

    Args:
        network: see `speechkit.lm.networks`.
        prompts: units to continue.
        seconds: maximum length of each continuation.
        config: sampling settings.
        seeds: one per prompt; a continuation depends on its own seed only.
        reads: number of times that the network reads the prompt.

    Raises:
        UserError: if a prompt has units of another codebook, is empty, or exceeds the network's context.
        ConfigError: if ``seconds`` or ``reads`` is out of range.
    """
    from speechkit.lm.decoder import NetworkDecoder

    _check_seconds(seconds)
    if reads < 1:
        raise ConfigError(f"reads is {reads}; give at least 1")
    vocabulary = network.vocabulary
    rate = vocabulary.units.frames_per_second
    for row in prompts:
        vocabulary.check(row.id, row.units, row.codebook)
        if reads * len(row.units) + 1 >= network.context:
            again = "" if reads == 1 else f" that are read {reads} times"
            raise UserError(
                f"{row.id}: the prompt has {len(row.units)} units{again} and the model's context is {network.context}, "
                "boundary included; give a shorter prompt"
            )
    frames = round(seconds * rate)
    # A unit lasts at least one frame; most sequences reach the requested duration much earlier.
    bounded = msgspec.structs.replace(config, max_tokens=min(config.max_tokens, max(1, frames)))
    generators = [np.random.default_rng(seed) for seed in seeds]
    tokens = [[vocabulary.boundary, *row.units * reads] for row in prompts]
    samples = sample(NetworkDecoder(network), tokens, bounded, generators)
    continuations = []
    for row, read, generated, generator in zip(prompts, tokens, samples, generators, strict=True):
        durations = _durations(network, row, read, generated.tokens, generator)
        cut = _cut(UnitSequence(row.id, generated.tokens, durations, row.codebook), frames)
        complete = generated.ended and len(cut.units) == len(generated.tokens)
        continuations.append(Continuation(row, cut, complete, generated))
    return continuations


def likely_tokens(row: UnitSequence, seconds: float, frames_per_second: float) -> int:
    """Generous token budget for ``seconds``: units at half the prompt's mean duration, so that durations cut first.

    Raises:
        ConfigError: if ``seconds`` is out of range.
    """
    _check_seconds(seconds)
    # A prompt without units, which no model continues, is refused by `continue_units`.
    mean = max(1.0, sum(row.durations) / max(1, len(row.units)))
    return max(8, math.ceil(2 * seconds * frames_per_second / mean))


def _check_seconds(seconds: float) -> None:
    if not 0 < seconds <= MAX_SECONDS:
        raise ConfigError(f"seconds is {seconds:g}; give a number above 0 and up to {MAX_SECONDS:g}")


def _durations(
    network: UnitNetwork,
    prompt: UnitSequence,
    read: Sequence[int],
    units: Sequence[int],
    generator: np.random.Generator,
) -> list[int]:
    if not units:
        return []
    if network.duration_head is None:
        return [max(1, round(sum(prompt.durations) / len(prompt.durations)))] * len(units)
    import torch

    with torch.inference_mode():
        device = next(network.parameters()).device
        tokens = torch.tensor([[*read, *units]], device=device)
        hidden = network.hidden(tokens)[0, len(read) :]
        return network.duration_head.sample(hidden, generator, before=prompt.durations[-1])


def _cut(row: UnitSequence, frames: int) -> UnitSequence:
    ends = np.cumsum(row.durations)
    kept = int(np.searchsorted(ends, frames, side="left")) + 1
    durations = row.durations[:kept]
    if sum(durations) > frames:
        durations = [*durations[:-1], durations[-1] - (sum(durations) - frames)]
    return UnitSequence(row.id, row.units[:kept], durations, row.codebook)
