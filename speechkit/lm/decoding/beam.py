"""Beam search, and diverse beam search (Vijayakumar et al. 2018): groups of beams penalised for equal tokens.

Group g ranks a continuation v by log-probability - diversity * n(v), where n(v) beams of the groups before it were
continued by v in this step. The first group is plain beam search. The boundary is not penalised. Torch-free.
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
    """Settings of beam search.

    Attributes:
        width: total number of beams of all groups.
        groups: number of groups, a divisor of the width; 1 for plain beam search.
        diversity: penalty in nats for each beam of an earlier group continued by the same token in this step.
        accumulate: whether penalties accumulate in a beam's score, as in the authors' program, or count for one step.
        length_power: hypotheses are sorted by log-probability / length ** length_power.
        max_tokens: maximum length of a hypothesis.
    """

    width: Annotated[int, msgspec.Meta(ge=1)] = 8
    groups: Annotated[int, msgspec.Meta(ge=1)] = 1
    diversity: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    accumulate: bool = False
    length_power: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 150

    def __post_init__(self) -> None:
        if self.width % self.groups:
            raise ConfigError(f"width is {self.width} and groups {self.groups}; give a width divisible by groups")


@dataclass(frozen=True)
class Hypothesis:
    """A hypothesis of beam search.

    Attributes:
        tokens: without the boundary.
        ended: whether it ends with the boundary; otherwise the length limit was reached.
        logp: log-probability of the tokens and of the boundary, without diversity penalties.
        group: index of its group, from 0.
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
    """Row of the state that it continues."""


def beam_search(model: SequenceModel, prompt: Sequence[int], config: BeamConfig) -> list[Hypothesis]:
    """The distinct hypotheses of all groups, best first.

    An ended beam stays in its group until better ones replace it.

    Raises:
        UserError: if the prompt is empty or contains a token outside the vocabulary.
    """
    width = config.width // config.groups
    state = read_prompts(model, [prompt])
    groups = [[_Beam()] for _ in range(config.groups)]
    for _ in range(config.max_tokens):
        taken = np.zeros(model.vocabulary)
        chosen = []
        for beams in groups:
            best = _expand(beams, state, config, taken, model.boundary, width)
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
    hypotheses: dict[tuple[int, ...], Hypothesis] = {}
    for number, beams in enumerate(groups):
        for beam in beams:
            hypotheses.setdefault(beam.tokens, Hypothesis(beam.tokens, beam.ended, beam.logp, number))

    def normalized(hypothesis: Hypothesis) -> float:
        length = max(1, len(hypothesis.tokens) + hypothesis.ended)
        return float(hypothesis.logp / length**config.length_power)

    return sorted(hypotheses.values(), key=normalized, reverse=True)


def _expand(
    beams: list[_Beam], state: State, config: BeamConfig, taken: np.ndarray, boundary: int, width: int
) -> list[_Beam]:
    """The best ``width`` of the ended beams and all continuations of the others; the first of equal ones."""
    candidates = [(beam.score, beam) for beam in beams if beam.ended]
    for beam in beams:
        if beam.ended:
            continue
        logp = state.logp[beam.row]
        penalty = config.diversity * taken
        penalty[boundary] = 0.0
        ranked = beam.score + logp - penalty
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
