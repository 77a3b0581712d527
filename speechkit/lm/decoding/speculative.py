"""Recursive speculative decoding (Jeon et al. 2024): something small drafts a tree, one call of a model checks it.

What comes out has the model's law exactly (`speechkit.lm.decoding.draft_tree`), whatever drafts: a smaller model, or
heads of the same one (`speechkit.lm.decoding.draft_heads`).
Drafts are drawn without replacement, by Gumbel noise: with a number of children a level (RSD-C; ones make a chain), or
as a stochastic beam (RSD-S; Kool et al. 2019), whose pruned prefixes stay as leaves. Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol, runtime_checkable

import msgspec
import numpy as np

from speechkit.errors import ConfigError, UserError
from speechkit.lm.decoding.draft_tree import DraftTree, verify
from speechkit.lm.decoding.sampling import Generated, SamplingConfig, warp
from speechkit.lm.interface import ROOT, LogProbabilities, SequenceModel, State, Tokens, read_prompts

Count = Annotated[int, msgspec.Meta(ge=1)]


class DraftConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shape of the tree drafted for each call of the target; one of two kinds.

    Attributes:
        factors: RSD-C: children of each node of a level, from the root down; ``[1, 1, 1]`` is a chain of three.
        width: RSD-S: beams, of ``levels`` levels.
        levels: of RSD-S.
        temperature: of the draft, None for the target's own; with a greedy target, a draft at 1 gives trees.
    """

    factors: tuple[Count, ...] = ()
    width: Annotated[int, msgspec.Meta(ge=0)] = 0
    levels: Count = 3
    temperature: Annotated[float, msgspec.Meta(ge=0)] | None = None

    def __post_init__(self) -> None:
        if bool(self.factors) == bool(self.width):
            raise ConfigError("a draft has either factors (RSD-C, chain) or a width (RSD-S); give one of them")

    @property
    def nodes(self) -> int:
        """Most tokens of a tree."""
        if self.width:
            return self.width * self.levels
        return int(np.cumprod(self.factors).sum())

    @property
    def depth(self) -> int:
        """Levels of a tree."""
        return self.levels if self.width else len(self.factors)


class Steps(Protocol):
    """What of a `SequenceModel` a tree is drafted by."""

    @property
    def vocabulary(self) -> int:
        """V, the boundary included."""

    @property
    def boundary(self) -> int:
        """The token that begins and ends a sequence."""

    def step(self, state: State, tokens: Tokens) -> State:
        """Read one more token (B,) of each sequence."""

    def select(self, state: State, rows: Tokens) -> State:
        """The sequences of some rows, in any order and number."""


@runtime_checkable
class Drafter(Protocol):
    """Interface of a drafter: proposes continuations of one sequence."""

    vocabulary: int
    boundary: int

    def check(self, depth: int) -> None:
        """Refuse trees of more levels than it can draft."""

    def begin(self, prompt: Sequence[int]) -> State:
        """The state behind a prompt."""

    def grow(
        self, state: State, sampling: SamplingConfig, config: DraftConfig, generator: np.random.Generator
    ) -> DraftTree:
        """A tree behind the last token."""

    def follow(self, state: State, tokens: Sequence[int], hidden: Any) -> State:
        """The state behind new tokens; ``hidden`` (R, D) is what the target thought behind those that it has read.

        They are the last token before these and all but the last of these, or none where the target had read all.
        """


class ModelDrafter:
    """`Drafter` over a sequence model."""

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
        target: whose law it is.
        draft: of the same vocabulary, cheaper; or heads, where the target is a `speechkit.lm.decoder.NetworkDecoder`.
        prompt: begins with the boundary.
        config: of the target.
        tree: what is drafted.
        generator: draws drafts and tests.

    Raises:
        UserError: if the vocabularies differ, the prompt is empty or holds a token that the models do not know.
        ConfigError: if the tree is deeper than heads can draft.
    """
    drafter = draft if isinstance(draft, Drafter) else ModelDrafter(draft)
    drafter.check(tree.depth)
    hidden_of: Any = getattr(target, "path_hidden", None)
    if (target.vocabulary, target.boundary) != (draft.vocabulary, draft.boundary):
        raise UserError(
            f"the draft knows {draft.vocabulary} tokens and the target {target.vocabulary}; give models of one codebook"
        )
    warm = config if tree.temperature is None else msgspec.structs.replace(config, temperature=tree.temperature)
    state = read_prompts(target, [prompt])
    small = drafter.begin(prompt)
    waiting: list[int] = []  # the last token, which the target has drawn and not yet read
    tokens: list[int] = []
    total, calls, drafted, accepted = 0.0, 0, 0, 0
    while True:
        grown = drafter.grow(small, warm, tree, generator)
        nodes = np.concatenate([np.array(waiting, np.int64), grown.tokens])
        parents = np.concatenate([np.full(len(waiting), ROOT), grown.parents + len(waiting)])
        hidden = None
        if len(nodes):
            scored = target.score_tree(state, nodes, parents)
            logp = scored.logp[len(waiting) :]  # (N + 1, V)
            calls += 1
        else:  # nothing was drafted, and the target has read everything
            logp = state.logp
        path, token = verify(grown, np.exp(warp(logp, config)), generator)
        if len(nodes):
            read = [*range(len(waiting)), *(node + len(waiting) for node in path)]
            state = target.commit(scored, read)
            hidden = None if hidden_of is None or not waiting else hidden_of(scored, read)
        drafted, accepted = drafted + len(grown.tokens), accepted + len(path)
        new = [*grown.tokens[path].tolist(), token]
        for place, each in zip([0, *(node + 1 for node in path)], new, strict=True):
            total += float(logp[place, each])
            if each == target.boundary:
                return Generated(tokens, True, total, calls, drafted, accepted)
            tokens.append(each)
            if len(tokens) == config.max_tokens:
                return Generated(tokens, False, total, calls, drafted, accepted)
        small = drafter.follow(small, new, hidden)
        waiting = [token]


def draft_tree(
    model: Steps, state: State, sampling: SamplingConfig, config: DraftConfig, generator: np.random.Generator
) -> DraftTree:
    """A tree behind the one sequence of a state, drawn from the warped law of a model."""
    tokens: list[int] = []
    parents: list[int] = []
    rows: list[LogProbabilities] = [np.exp(warp(state.logp[0], sampling))]
    level, owners = state, [ROOT]  # the states of a level, and the node of each
    total, noise = np.zeros(1), np.zeros(1)  # log-probability of each prefix, and its Gumbel value
    depth = config.depth
    for number in range(depth):
        logq = warp(level.logp, sampling)  # (owners, V)
        if config.width:
            places, total, noise = _stochastic_beam(logq, total, noise, config.width, generator)
        else:
            places = _without_replacement(logq, config.factors[number], generator)
        begin = len(tokens)
        for owner, token in places:
            tokens.append(token)
            parents.append(owners[owner])
            rows.append(np.zeros(model.vocabulary))
        # The boundary ends its path, and so has no children.
        grows = [place for place, (_, token) in enumerate(places) if token != model.boundary]
        if number == depth - 1 or not grows:
            break
        chosen = np.array([places[place] for place in grows])
        level = model.step(model.select(level, chosen[:, 0]), chosen[:, 1])
        owners = [begin + place for place in grows]
        total, noise = (total[grows], noise[grows]) if config.width else (total, noise)
        for owner, law in zip(owners, np.exp(warp(level.logp, sampling)), strict=True):
            rows[owner + 1] = law
    return DraftTree(np.array(tokens, np.int64), np.array(parents, np.int64), np.stack(rows))


def _without_replacement(logq: LogProbabilities, factor: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """(row, token) of ``factor`` tokens of each row, drawn without replacement, in drawing order."""
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
    """The ``width`` best of all children by Gumbel values whose largest under each beam is the beam's own.

    Args:
        logq: (beams, V)
        total: (beams,) log-probability of each beam.
        noise: (beams,) its Gumbel value.
        width: how many are kept.
        generator: draws the values.

    Returns:
        (row, token), log-probability and value of each, values descending.
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
