"""Beam search, and diverse beam search (Vijayakumar et al. 2018): groups of beams that avoid one another's tokens.

Group g ranks a continuation v by log-probability - diversity * n(v), n(v) being how many beams of the groups before it
have just been continued by v. The first group is a plain beam. The boundary costs nothing: sequences may end alike.
Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np

from speechkit.errors import ConfigError
from speechkit.lm.interface import SequenceModel, State, read_prompts


class BeamConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a search.

    Attributes:
        width: beams of all groups together.
        groups: 1 for plain beam search; divides the width.
        diversity: nats that a token costs for each beam of an earlier group that has taken it at this place.
        accumulate: whether these costs stay in the score of a beam, as in the authors' program, or count once.
        length_power: hypotheses are sorted by log-probability / length ** this.
        max_tokens: after which a hypothesis is cut off.
    """

    width: Annotated[int, msgspec.Meta(ge=1)] = 8
    groups: Annotated[int, msgspec.Meta(ge=1)] = 1
    diversity: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    accumulate: bool = False
    length_power: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 150

    def __post_init__(self) -> None:
        if self.width % self.groups:
            raise ConfigError(f"width {self.width} cannot be shared by {self.groups} groups; choose a multiple")


@dataclass(frozen=True)
class Hypothesis:
    """A hypothesis of a search.

    Attributes:
        tokens: without the boundary.
        ended: whether by the boundary; otherwise it was cut off.
        logp: of the tokens, and of the boundary, without any cost of diversity.
        group: that found it, from 0.
    """

    tokens: tuple[int, ...]
    ended: bool
    logp: float
    group: int = 0


@dataclass(frozen=True)
class _Beam:
    tokens: tuple[int, ...] = ()
    ended: bool = False
    logp: float = 0.0
    score: float = 0.0
    row: int = 0
    """Of the state that is to be continued."""


def beam_search(model: SequenceModel, prompt: Sequence[int], config: BeamConfig) -> list[Hypothesis]:
    """The hypotheses of all groups, best first, each once.

    An ended beam keeps its place in its group until better ones push it out.

    Raises:
        UserError: if the prompt is empty or holds a token that the model does not know.
    """
    width = config.width // config.groups
    state = read_prompts(model, [prompt])
    groups = [[_Beam()] for _ in range(config.groups)]
    for _ in range(config.max_tokens):
        taken = np.zeros(model.vocabulary)
        chosen = []
        for beams in groups:
            best = _continued(beams, state, config, taken, model.boundary, width)
            for beam in best:
                if not beam.ended:
                    taken[beam.tokens[-1]] += 1
            chosen.append(best)
        live = [beam for beams in chosen for beam in beams if not beam.ended]
        if not live:
            groups = chosen
            break
        rows = np.array([beam.row for beam in live])
        state = model.step(model.select(state, rows), np.array([beam.tokens[-1] for beam in live]))
        numbers = iter(range(len(live)))
        groups = [
            [beam if beam.ended else _Beam(beam.tokens, False, beam.logp, beam.score, next(numbers)) for beam in beams]
            for beams in chosen
        ]
    found: dict[tuple[int, ...], Hypothesis] = {}
    for number, beams in enumerate(groups):
        for beam in beams:
            found.setdefault(beam.tokens, Hypothesis(beam.tokens, beam.ended, beam.logp, number))

    def merit(each: Hypothesis) -> float:
        return float(each.logp / max(1, len(each.tokens) + each.ended) ** config.length_power)

    return sorted(found.values(), key=merit, reverse=True)


def _continued(
    beams: list[_Beam], state: State, config: BeamConfig, taken: np.ndarray, boundary: int, width: int
) -> list[_Beam]:
    """The best ``width`` of ended beams and all continuations of the others; of equal ones the first."""
    candidates = [(beam.score, beam) for beam in beams if beam.ended]
    for beam in beams:
        if beam.ended:
            continue
        logp = state.logp[beam.row]
        cost = config.diversity * taken
        cost[boundary] = 0.0
        ranked = beam.score + logp - cost
        for token in np.argsort(-ranked, kind="stable")[:width].tolist():
            value = float(logp[token])
            if value == -np.inf:
                continue
            ended = token == boundary
            score = float(ranked[token]) if config.accumulate else beam.score + value
            tokens = beam.tokens if ended else (*beam.tokens, token)
            candidates.append((float(ranked[token]), _Beam(tokens, ended, beam.logp + value, score, beam.row)))
    candidates.sort(key=lambda pair: -pair[0])
    return [beam for _, beam in candidates[:width]]
