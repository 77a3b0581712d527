"""Adapter from unit networks to the `SequenceModel` interface of `speechkit.lm.decoding`.

Notation used for tensor shapes: B sequences, T tokens, V vocabulary, N nodes of a tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from speechkit.lm.interface import (
    LogProbabilities,
    State,
    Tokens,
    TreeState,
    commit_by_steps,
    score_tree_by_steps,
)
from speechkit.nn.sequence.mixer import State as NetworkState
from speechkit.nn.sequence.mixer import select_rows

if TYPE_CHECKING:
    from speechkit.lm.networks import UnitNetwork


@dataclass(frozen=True)
class _Memory:
    """Hidden vector after the last token of each row (B, D), and the network's state."""

    hidden: Tensor
    network: NetworkState


class NetworkDecoder:
    """`speechkit.lm.interface.SequenceModel` over a unit network.

    Args:
        network: switched to evaluation mode.
        marks: whether infilling marks may be predicted; otherwise probabilities are renormalised over units and
        boundary.
    """

    def __init__(self, network: UnitNetwork, marks: bool = False):
        self._network = network.eval()
        self._vocabulary = network.vocabulary.size if marks else network.vocabulary.boundary + 1
        self._device = next(network.parameters()).device

    @property
    def vocabulary(self) -> int:
        """Number of units plus the boundary, plus the infilling marks where these are enabled."""
        return self._vocabulary

    @property
    def boundary(self) -> int:
        """The token numbered after the last unit."""
        return self._network.vocabulary.boundary

    def _log_probabilities(self, hidden: Tensor) -> LogProbabilities:
        logits = self._network.logits(hidden)[..., : self._vocabulary]
        return logits.cpu().double().log_softmax(-1).numpy()

    def _tensor(self, tokens: Tokens) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(tokens)).to(self._device)

    @torch.inference_mode()
    def prefill(self, tokens: Tokens, lengths: Tokens) -> tuple[LogProbabilities, State]:
        """See `speechkit.lm.interface.SequenceModel`."""
        padded = None if int(lengths.min()) == tokens.shape[1] else self._tensor(lengths)
        hidden, memory = self._network.prefill(self._tensor(tokens), self._network.start(len(tokens)), padded)
        logp = self._log_probabilities(hidden)
        last = hidden[torch.arange(len(tokens), device=hidden.device), self._tensor(lengths) - 1]
        return logp, State(logp[np.arange(len(tokens)), lengths - 1], _Memory(last, memory))

    @torch.inference_mode()
    def step(self, state: State, tokens: Tokens) -> State:
        """See `speechkit.lm.interface.SequenceModel`."""
        hidden, memory = self._network.step(self._tensor(tokens), state.memory.network)
        return State(self._log_probabilities(hidden), _Memory(hidden, memory))

    @torch.inference_mode()
    def select(self, state: State, rows: Tokens) -> State:
        """See `speechkit.lm.interface.SequenceModel`."""
        index, memory = self._tensor(rows), state.memory
        return State(state.logp[rows], _Memory(memory.hidden[index], select_rows(memory.network, index)))

    @torch.inference_mode()
    def score_tree(self, state: State, tokens: Tokens, parents: Tokens) -> TreeState:
        """See `speechkit.lm.interface.SequenceModel`: a single pass over all nodes where the layers support trees."""
        if not self._network.reads_trees:
            return score_tree_by_steps(self, state, tokens, parents)
        ancestors = np.eye(len(tokens), dtype=bool)
        for node, parent in enumerate(parents.tolist()):
            if parent >= 0:
                ancestors[node] |= ancestors[parent]
        hidden, memory = self._network.prefill_tree(
            self._tensor(tokens)[None], state.memory.network, torch.from_numpy(ancestors).to(self._device)
        )
        logp = np.concatenate([state.logp, self._log_probabilities(hidden[0])])
        return TreeState(logp, (state, memory, hidden[0]))

    @torch.inference_mode()
    def commit(self, tree: TreeState, path: Sequence[int]) -> State:
        """See `speechkit.lm.interface.SequenceModel`."""
        if not self._network.reads_trees:
            return commit_by_steps(self, tree, path)
        root, memory, hidden = tree.memory
        if not path:
            return State(root.logp, root.memory)
        nodes = len(tree.logp) - 1
        network_state = self._network.follow(memory, nodes, self._tensor(np.array(path, np.int64)))
        return State(tree.logp[path[-1] + 1][None], _Memory(hidden[path[-1]][None], network_state))

    def path_hidden(self, tree: TreeState, path: Sequence[int]) -> Tensor:
        """Hidden vectors after each node of a path of a tree: (P,) -> (P, D), on the network's device."""
        if not self._network.reads_trees:
            states = [commit_by_steps(self, tree, path[: count + 1]) for count in range(len(path))]
            return torch.cat([state.memory.hidden for state in states])
        hidden: Tensor = tree.memory[2]
        return hidden[self._tensor(np.array(path, np.int64))]
