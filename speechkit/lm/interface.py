"""The interface between decoders and models of token sequences. Torch-free.

Tokens are integers below ``vocabulary``. One of them, ``boundary``, begins and ends every sequence. States are
immutable: every operation returns a new one, so that beams and drafts can share a state.

Notation used for tensor shapes: B sequences, T tokens, V vocabulary, N nodes of a tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError

Tokens = NDArray[np.int64]
LogProbabilities = NDArray[np.float64]
ROOT = -1
"""Parent of a tree's first nodes: the state that the tree continues."""


@dataclass(frozen=True)
class State:
    """A batch of partially read sequences.

    Attributes:
        logp: (B, V) natural log-probabilities of the next token.
        memory: whatever the model needs to continue.
    """

    logp: LogProbabilities
    memory: Any


@dataclass(frozen=True)
class TreeState:
    """All paths of a token tree that continues one sequence.

    Attributes:
        logp: (N + 1, V): next-token log-probabilities after the root, then after each node.
        memory: whatever the model needs to continue from a node.
    """

    logp: LogProbabilities
    memory: Any


class SequenceModel(Protocol):
    """Next-token model that every decoder in `speechkit.lm.decoding` accepts."""

    @property
    def vocabulary(self) -> int:
        """V, the boundary included."""

    @property
    def boundary(self) -> int:
        """The token that begins and ends a sequence."""

    def prefill(self, tokens: Tokens, lengths: Tokens) -> tuple[LogProbabilities, State]:
        """Read whole sequences: (B, T), (B,) -> log-probabilities after every token (B, T, V), and the state.

        Tokens beyond a sequence's length are ignored; the log-probabilities there are undefined.
        """

    def step(self, state: State, tokens: Tokens) -> State:
        """Read one more token (B,) of each sequence."""

    def select(self, state: State, rows: Tokens) -> State:
        """State of the given rows, in any order and with repetitions."""

    def score_tree(self, state: State, tokens: Tokens, parents: Tokens) -> TreeState:
        """Read a token tree (N,) that continues a state's single sequence; a parent is `ROOT` or an earlier node."""

    def commit(self, tree: TreeState, path: Sequence[int]) -> State:
        """State of the single sequence after a path of nodes that begins at the root."""


def read_prompts(model: SequenceModel, prompts: Sequence[Sequence[int]]) -> State:
    """State after the prompts, each of which begins with the boundary.

    Raises:
        UserError: if there is no prompt, one is empty, or a token is outside the vocabulary.
    """
    lengths = np.array([len(prompt) for prompt in prompts], np.int64)
    if not len(lengths) or not lengths.min():
        raise UserError("a prompt is empty; begin it with the boundary token")
    for number, prompt in enumerate(prompts):
        check_tokens(prompt, model.vocabulary, f"prompt {number}")
    tokens = np.full((len(prompts), int(lengths.max())), model.boundary, np.int64)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[: len(prompt)] = prompt
    return model.prefill(tokens, lengths)[1]


def check_tokens(tokens: Sequence[int], vocabulary: int, name: str) -> None:
    """Check that tokens are in the model's vocabulary.

    Raises:
        UserError: naming the first that is not.
    """
    wrong = next((token for token in tokens if not 0 <= token < vocabulary), None)
    if wrong is not None:
        raise UserError(f"{name}: unit {wrong} is out of range; the model knows 0 to {vocabulary - 1}")


@dataclass(frozen=True)
class _Levels:
    """States of a tree, one per level with the root's first, and the position of each node in them."""

    states: list[State]
    positions: list[tuple[int, int]]


def score_tree_by_steps(model: SequenceModel, state: State, tokens: Tokens, parents: Tokens) -> TreeState:
    """`SequenceModel.score_tree` by one `SequenceModel.step` per level; keeps a state per node.

    For models without a per-position cache: n-grams, recurrent layers, state spaces.
    """
    positions: list[tuple[int, int]] = []
    levels: list[list[int]] = []
    for node, parent in enumerate(parents.tolist()):
        if not ROOT <= parent < node:
            raise ValueError(f"node {node} has the parent {parent}; a parent must be an earlier node or ROOT")
        level = positions[parent][0] + 1 if parent >= 0 else 1
        if level > len(levels):
            levels.append([])
        positions.append((level, len(levels[level - 1])))
        levels[level - 1].append(node)
    states = [state]
    logp = np.empty((len(tokens) + 1, state.logp.shape[1]))
    logp[0] = state.logp[0]
    for nodes in levels:
        rows = np.array([positions[parent][1] if parent >= 0 else 0 for parent in parents[nodes].tolist()], np.int64)
        states.append(model.step(model.select(states[-1], rows), tokens[nodes]))
        logp[np.array(nodes) + 1] = states[-1].logp
    return TreeState(logp, _Levels(states, positions))


def commit_by_steps(model: SequenceModel, tree: TreeState, path: Sequence[int]) -> State:
    """`SequenceModel.commit` for the result of `score_tree_by_steps`."""
    levels: _Levels = tree.memory
    level, row = levels.positions[path[-1]] if path else (0, 0)
    return model.select(levels.states[level], np.array([row], np.int64))
