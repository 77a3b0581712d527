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
    """Settings of sampling, applied in this order: temperature, top-k, top-p.

    Attributes:
        temperature: divides log-probabilities; 0 takes the most probable token, the first of equal ones.
        top_k: number of most probable tokens kept, 0 for all; the first of equal ones.
        top_p: probability mass kept; the token that reaches it is included.
        max_tokens: maximum length of a continuation.
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
        ended: whether the boundary was sampled; otherwise the length limit was reached.
        logp: log-probability of the tokens and of the boundary under the model itself (temperature 1, all tokens).
        target_calls: number of model calls, without the prompt's.
        drafted: number of tokens proposed by the draft.
        accepted: number of these accepted.
    """

    tokens: list[int]
    ended: bool
    logp: float
    target_calls: int
    drafted: int = 0
    accepted: int = 0


def warp(logp: LogProbabilities, config: SamplingConfig) -> LogProbabilities:
    """Log-probabilities (…, V) after temperature, top-k and top-p; -inf for excluded tokens."""
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
        # A token is excluded if those before it already reach top_p.
        ranked[..., 1:][mass[..., :-1] >= config.top_p] = -np.inf
        np.put_along_axis(warped, order, ranked, -1)
    return np.asarray(warped - np.logaddexp.reduce(warped, -1)[..., None])


def draw(probabilities: NDArray[np.floating[Any]], generator: np.random.Generator) -> int:
    """Sample a token from probabilities (V,), which need not sum to one; tokens of probability 0 are never drawn."""
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
        config: sampling settings.
        generators: one per prompt, so that a continuation does not depend on the other prompts.

    Raises:
        UserError: if a prompt is empty or contains a token outside the vocabulary.
    """
    if len(generators) != len(prompts):
        raise ValueError(f"there are {len(prompts)} prompts and {len(generators)} generators; give one per prompt")
    state = read_prompts(model, prompts)
    tokens: list[list[int]] = [[] for _ in prompts]
    total = np.zeros(len(prompts))
    calls = np.zeros(len(prompts), int)
    live = np.arange(len(prompts))
    ended = np.zeros(len(prompts), bool)
    while len(live):
        probabilities = np.exp(warp(state.logp, config))
        rows = zip(probabilities, live.tolist(), strict=True)
        sampled = np.array([draw(row, generators[index]) for row, index in rows])
        total[live] += state.logp[np.arange(len(live)), sampled]
        for index, token in zip(live.tolist(), sampled.tolist(), strict=True):
            if token == model.boundary:
                ended[index] = True
            else:
                tokens[index].append(token)
        continues = np.array([not ended[index] and len(tokens[index]) < config.max_tokens for index in live.tolist()])
        if not continues.all():
            state = model.select(state, np.flatnonzero(continues))
        live = live[continues]
        if len(live):
            state = model.step(state, sampled[continues])
            calls[live] += 1
    return [
        Generated(continuation, bool(end), float(value), int(count))
        for continuation, end, value, count in zip(tokens, ended, total, calls, strict=True)
    ]
