"""Sampling with temperature, top-k and top-p (nucleus, Holtzman et al. 2020). Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.lm.interface import LogProbabilities, SequenceModel, read_prompts


class SamplingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the next token is drawn. In this order: temperature, the most probable k, the smallest set of mass p.

    Attributes:
        temperature: divides log-probabilities; 0 takes the most probable token, of equal ones the first.
        top_k: how many tokens may be drawn, 0 for all; of equally probable ones the first.
        top_p: share of the probability that may be drawn; the token that reaches it is kept.
        max_tokens: after which a sequence is cut off.
    """

    temperature: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    top_k: Annotated[int, msgspec.Meta(ge=0)] = 0
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 150


@dataclass(frozen=True)
class Generated:
    """A sampled continuation.

    Attributes:
        tokens: without the boundary.
        ended: whether the boundary was drawn; otherwise it was cut off.
        logp: of the tokens, and of the boundary, by the model itself (temperature 1, all tokens).
        target_calls: how often the model was called, the prompt apart.
        drafted: tokens that a smaller model proposed.
        accepted: of these.
    """

    tokens: list[int]
    ended: bool
    logp: float
    target_calls: int
    drafted: int = 0
    accepted: int = 0


def warp(logp: LogProbabilities, config: SamplingConfig) -> LogProbabilities:
    """Log-probabilities (…, V) of what is drawn: -inf for what cannot be."""
    if config.temperature == 0:
        warped = np.full_like(logp, -np.inf)
        np.put_along_axis(warped, logp.argmax(-1)[..., None], 0.0, -1)
        return warped
    warped = logp / config.temperature
    if config.top_k or config.top_p < 1:
        order = np.argsort(-warped, -1, kind="stable")
        ranked = np.take_along_axis(warped, order, -1)
        if config.top_k:
            ranked[..., config.top_k :] = -np.inf
        mass = np.cumsum(np.exp(ranked - np.logaddexp.reduce(ranked, -1)[..., None]), -1)
        # A token goes if those before it are enough.
        ranked[..., 1:][mass[..., :-1] >= config.top_p] = -np.inf
        np.put_along_axis(warped, order, ranked, -1)
    return np.asarray(warped - np.logaddexp.reduce(warped, -1)[..., None])


def draw(probabilities: NDArray[np.floating[Any]], generator: np.random.Generator) -> int:
    """A token by its probability (V,), which need not sum to one; one of probability 0 is never drawn."""
    cumulative = np.cumsum(probabilities)
    return int(np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right"))


def sample(
    model: SequenceModel,
    prompts: Sequence[Sequence[int]],
    config: SamplingConfig,
    generators: Sequence[np.random.Generator],
) -> list[Generated]:
    """Sample a continuation of each prompt, all in one batch.

    Args:
        model: see `speechkit.lm.interface`.
        prompts: tokens, each beginning with the boundary.
        config: see there.
        generators: one a prompt, so that what is drawn for one does not depend on the others.

    Raises:
        UserError: if a prompt is empty or holds a token that the model does not know.
    """
    if len(generators) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts have {len(generators)} generators; give one each")
    state = read_prompts(model, prompts)
    tokens: list[list[int]] = [[] for _ in prompts]
    total = np.zeros(len(prompts))
    calls = np.zeros(len(prompts), int)
    live = np.arange(len(prompts))
    ended = np.zeros(len(prompts), bool)
    while len(live):
        probabilities = np.exp(warp(state.logp, config))
        turns = zip(probabilities, live.tolist(), strict=True)
        drawn = np.array([draw(row, generators[index]) for row, index in turns])
        total[live] += state.logp[np.arange(len(live)), drawn]
        for index, token in zip(live.tolist(), drawn.tolist(), strict=True):
            if token == model.boundary:
                ended[index] = True
            else:
                tokens[index].append(token)
        goes_on = np.array([not ended[index] and len(tokens[index]) < config.max_tokens for index in live.tolist()])
        if not goes_on.all():
            state = model.select(state, np.flatnonzero(goes_on))
        live = live[goes_on]
        if len(live):
            state = model.step(state, drawn[goes_on])
            calls[live] += 1
    return [
        Generated(each, bool(end), float(value), int(count))
        for each, end, value, count in zip(tokens, ended, total, calls, strict=True)
    ]
