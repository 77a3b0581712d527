"""Recursive speculative decoding (Jeon et al. 2024): a drafter proposes a token tree, one call of a model verifies it.

The output follows the target's distribution exactly (`speechkit.lm.decoding.draft_tree`). The drafter is a smaller
model, or heads of the same one (`speechkit.lm.decoding.draft_heads`). Drafts are sampled without replacement by Gumbel
noise: with a fixed number of children per level (RSD-C; ones make a chain), or as a stochastic beam (RSD-S; Kool et
al. 2019), whose pruned prefixes stay as leaves. Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import Annotated, Any, Protocol, runtime_checkable

import msgspec
import numpy as np

from speechkit.errors import ConfigError, UserError
from speechkit.lm.decoding.draft_tree import DraftTree, verify
from speechkit.lm.decoding.sampling import Generated, SamplingConfig, warp
from speechkit.lm.interface import ROOT, LogProbabilities, SequenceModel, State, Tokens, read_prompts

Count = Annotated[int, msgspec.Meta(ge=1)]
MAX_NODES = 1024
"""Upper limit of a tree: all its nodes go through the target in one call."""


class DraftConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shape of the tree drafted for each call of the target; one of two kinds.

    Attributes:
        factors: RSD-C: children per node on each level, from the root; ``[1, 1, 1]`` is a chain of three.
        width: RSD-S: beam width.
        levels: RSD-S: depth of the tree.
        temperature: of the draft, None for the target's; with a greedy target, a draft at 1 gives trees.
    """

    factors: tuple[Count, ...] = ()
    width: Annotated[int, msgspec.Meta(ge=0)] = 0
    levels: Count = 3
    temperature: Annotated[float, msgspec.Meta(ge=0)] | None = None

    def __post_init__(self) -> None:
        if bool(self.factors) == bool(self.width):
            raise ConfigError("a draft has either factors (RSD-C, chain) or a width (RSD-S); give one of them")
        if self.nodes > MAX_NODES:
            raise ConfigError(
                f"a draft tree of up to {self.nodes:,} nodes costs more than it saves; give one of at most {MAX_NODES}"
            )

    @property
    def nodes(self) -> int:
        """Maximum number of nodes of a tree."""
        if self.width:
            return self.width * self.levels
        return sum(accumulate(self.factors, mul))

    @property
    def depth(self) -> int:
        """Maximum depth of a tree."""
        return self.levels if self.width else len(self.factors)


class Steps(Protocol):
    """The part of `SequenceModel` that drafting needs."""

    @property
    def vocabulary(self) -> int:
        """V, the boundary included."""

    @property
    def boundary(self) -> int:
        """The token that begins and ends a sequence."""

    def step(self, state: State, tokens: Tokens) -> State:
        """Read one more token (B,) of each sequence."""

    def select(self, state: State, rows: Tokens) -> State:
        """State of the given rows, in any order and with repetitions."""


@runtime_checkable
class Drafter(Protocol):
    """Interface of a drafter: proposes continuations of one sequence."""

    vocabulary: int
    boundary: int

    def check(self, depth: int) -> None:
        """Raise `ConfigError` if trees of this depth cannot be drafted."""

    def begin(self, prompt: Sequence[int]) -> State:
        """State after a prompt."""

    def grow(
        self, state: State, sampling: SamplingConfig, config: DraftConfig, generator: np.random.Generator
    ) -> DraftTree:
        """Draft a tree after the last token."""

    def follow(self, state: State, tokens: Sequence[int], hidden: Any) -> State:
        """State after new tokens; ``hidden`` (R, D) are the target's hidden vectors after those it has processed.

        These are the last token before the new ones and all new ones but the last, or none if there was no such token.
        """


class ModelDrafter:
    """`Drafter` that samples from a sequence model."""

    def __init__(self, model: SequenceModel):
        self._model = model
        self.vocabulary, self.boundary = model.vocabulary, model.boundary

    def check(self, depth: int) -> None:
        """Trees may have any depth."""

    def begin(self, prompt: Sequence[int]) -> State:
        """See `Drafter`."""
        return read_prompts(self._model, [prompt])

    def grow(
        self, state: State, sampling: SamplingConfig, config: DraftConfig, generator: np.random.Generator
    ) -> DraftTree:
        """See `Drafter`."""
        return draft_tree(self._model, state, sampling, config, generator)

    def follow(self, state: State, tokens: Sequence[int], hidden: Any) -> State:
        """See `Drafter`."""
        for token in tokens:
            state = self._model.step(state, np.array([token]))
        return state


def speculate(
    target: SequenceModel,
    draft: SequenceModel | Drafter,
    prompt: Sequence[int],
    config: SamplingConfig,
    tree: DraftConfig,
    generator: np.random.Generator,
) -> Generated:
    """Sample a continuation from the same distribution as `speechkit.lm.decoding.sampling.sample` with the target.

    Args:
        target: the model whose distribution is sampled.
        draft: a cheaper model of the same vocabulary; or draft heads, if the target is a
            `speechkit.lm.decoder.NetworkDecoder`.
        prompt: begins with the boundary.
        config: sampling settings of the target.
        tree: shape of the draft tree.
        generator: of the drafts and the acceptance tests.

    Raises:
        UserError: if the vocabularies differ, the prompt is empty or contains a token outside the vocabulary.
        ConfigError: if the tree is deeper than there are draft heads.
    """
    drafter = draft if isinstance(draft, Drafter) else ModelDrafter(draft)
    drafter.check(tree.depth)
    hidden_of: Any = getattr(target, "path_hidden", None)
    if (target.vocabulary, target.boundary) != (draft.vocabulary, draft.boundary):
        raise UserError(
            f"the draft has {draft.vocabulary} tokens and the target {target.vocabulary}; give models of one codebook"
        )
    draft_config = config if tree.temperature is None else msgspec.structs.replace(config, temperature=tree.temperature)
    state = read_prompts(target, [prompt])
    draft_state = drafter.begin(prompt)
    pending: list[int] = []  # the last token, which the target has sampled and not yet processed
    tokens: list[int] = []
    total, calls, drafted, accepted = 0.0, 0, 0, 0
    while True:
        proposed = drafter.grow(draft_state, draft_config, tree, generator)
        nodes = np.concatenate([np.array(pending, np.int64), proposed.tokens])
        parents = np.concatenate([np.full(len(pending), ROOT), proposed.parents + len(pending)])
        hidden = None
        if len(nodes):
            scored = target.score_tree(state, nodes, parents)
            logp = scored.logp[len(pending) :]  # (N + 1, V)
            calls += 1
        else:  # nothing was drafted, and no token is pending
            logp = state.logp
        path, next_token = verify(proposed, np.exp(warp(logp, config)), generator)
        if len(nodes):
            processed = [*range(len(pending)), *(node + len(pending) for node in path)]
            state = target.commit(scored, processed)
            hidden = None if hidden_of is None or not pending else hidden_of(scored, processed)
        drafted, accepted = drafted + len(proposed.tokens), accepted + len(path)
        new = [*proposed.tokens[path].tolist(), next_token]
        for row, token in zip([0, *(node + 1 for node in path)], new, strict=True):
            total += float(logp[row, token])
            if token == target.boundary:
                return Generated(tokens, True, total, calls, drafted, accepted)
            tokens.append(token)
            if len(tokens) == config.max_tokens:
                return Generated(tokens, False, total, calls, drafted, accepted)
        draft_state = drafter.follow(draft_state, new, hidden)
        pending = [next_token]


def draft_tree(
    model: Steps, state: State, sampling: SamplingConfig, config: DraftConfig, generator: np.random.Generator
) -> DraftTree:
    """Draft a tree after the single sequence of a state, sampled from the model with the given settings."""
    tokens: list[int] = []
    parents: list[int] = []
    rows: list[LogProbabilities] = [np.exp(warp(state.logp[0], sampling))]
    level, owners = state, [ROOT]  # the states of a level, and the node of each
    total, noise = np.zeros(1), np.zeros(1)  # log-probability of each prefix, and its Gumbel value
    depth = config.depth
    for number in range(depth):
        logq = warp(level.logp, sampling)  # (owners, V)
        if config.width:
            children, total, noise = _stochastic_beam(logq, total, noise, config.width, generator)
        else:
            children = _without_replacement(logq, config.factors[number], generator)
        begin = len(tokens)
        for owner, token in children:
            tokens.append(token)
            parents.append(owners[owner])
            rows.append(np.zeros(model.vocabulary))
        # The boundary ends its path, so it has no children.
        inner = [index for index, (_, token) in enumerate(children) if token != model.boundary]
        if number == depth - 1 or not inner:
            break
        chosen = np.array([children[index] for index in inner])
        level = model.step(model.select(level, chosen[:, 0]), chosen[:, 1])
        owners = [begin + index for index in inner]
        total, noise = (total[inner], noise[inner]) if config.width else (total, noise)
        for owner, probabilities in zip(owners, np.exp(warp(level.logp, sampling)), strict=True):
            rows[owner + 1] = probabilities
    return DraftTree(np.array(tokens, np.int64), np.array(parents, np.int64), np.stack(rows))


def _without_replacement(logq: LogProbabilities, factor: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """(row, token) of ``factor`` tokens per row, sampled without replacement, in drawing order."""
    values = logq + generator.gumbel(size=logq.shape)
    order = np.argsort(-values, -1)[:, :factor]
    return [(row, token) for row, tokens in enumerate(order.tolist()) for token in tokens if logq[row, token] > -np.inf]


def _stochastic_beam(
    logq: LogProbabilities,
    total: LogProbabilities,
    noise: LogProbabilities,
    width: int,
    generator: np.random.Generator,
) -> tuple[list[tuple[int, int]], LogProbabilities, LogProbabilities]:
    """The ``width`` children with the largest perturbed log-probabilities, each beam's maximum being its own value.

    Args:
        logq: (beams, V) log-probabilities of the next token.
        total: (beams,) log-probability of each beam.
        noise: (beams,) perturbed log-probability of each beam.
        width: number of children kept.
        generator: of the Gumbel noise.

    Returns:
        (row, token), log-probability and perturbed log-probability of each child, the last descending.
    """
    phi = total[:, None] + logq
    values = phi + generator.gumbel(size=phi.shape)
    largest = values.max(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        v = noise[:, None] - values + np.log1p(-np.exp(values - largest))
        conditioned = noise[:, None] - np.maximum(0, v) - np.log1p(np.exp(-np.abs(v)))
    conditioned[phi == -np.inf] = -np.inf
    flat = np.argsort(-conditioned, axis=None)[:width]
    flat = flat[np.isfinite(conditioned.ravel()[flat])]
    rows, tokens = np.unravel_index(flat, phi.shape)
    return list(zip(rows.tolist(), tokens.tolist(), strict=True)), phi[rows, tokens], conditioned[rows, tokens]
