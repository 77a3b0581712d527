"""N-grams over units as a `SequenceModel`. Torch-free."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from speechkit.errors import UserError
from speechkit.lm.interface import (
    LogProbabilities,
    State,
    Tokens,
    TreeState,
    commit_by_steps,
    score_tree_by_steps,
)
from speechkit.lm.ngram import BEGIN, END, LN_10, UNKNOWN, UNKNOWN_LOG10, NgramModel

Context = tuple[int, ...]
"""The history of the next token, at most order - 1 tokens."""
KEPT_ROWS = 4096


class NgramTable:
    """N-gram model over unit numbers; the boundary is ``<s>`` before a sequence and ``</s>`` after it.

    Unseen units share ``<unk>`` evenly. Each row is renormalised, since it sums to less than one where no unit is
    unseen.

    Args:
        model: n-gram model whose words are unit numbers.
        units: number of units; the boundary is the next number.

    Raises:
        UserError: if a word is not a unit number.
    """

    def __init__(self, model: NgramModel, units: int):
        self.order, self.units = model.order, units
        self._names = {BEGIN: units, END: units}
        followers: dict[Context, list[tuple[int, float]]] = defaultdict(list)
        self._weights: dict[Context, float] = {}
        for gram, (log10, weight) in model.entries.items():
            if UNKNOWN in gram.split():
                continue
            tokens = tuple(self._token(word, model.source) for word in gram.split())
            if not gram.endswith(BEGIN):
                followers[tokens[:-1]].append((tokens[-1], log10 * LN_10))
            if not gram.endswith(END):
                self._weights[tokens] = weight * LN_10
        self._followers = {
            context: (np.array([token for token, _ in rows]), np.array([value for _, value in rows]))
            for context, rows in followers.items()
        }
        unknown = model.entries.get(UNKNOWN, (UNKNOWN_LOG10, 0.0))[0] * LN_10
        unseen = self.vocabulary - len(self._followers[()][0])
        self._floor = unknown - np.log(max(unseen, 1))
        self._row = lru_cache(KEPT_ROWS)(self._scaled)

    def _token(self, word: str, source: str) -> int:
        if word in self._names:
            return self._names[word]
        if not word.isdecimal() or int(word) >= self.units:
            raise UserError(f"{source}: {word[:40]!r} is not a unit below {self.units}; give an n-gram of units")
        return int(word)

    @property
    def vocabulary(self) -> int:
        """Number of units plus the boundary."""
        return self.units + 1

    @property
    def boundary(self) -> int:
        """The token numbered after the last unit."""
        return self.units

    def _values(self, context: Context) -> LogProbabilities:
        row = self._values(context[1:]) + self._weights.get(context, 0.0) if context else self._unseen()
        if context in self._followers:
            tokens, values = self._followers[context]
            row[tokens] = values
        return row

    def _unseen(self) -> LogProbabilities:
        return np.full(self.vocabulary, self._floor)

    def _scaled(self, context: Context) -> LogProbabilities:
        row = self._values(context)
        return np.asarray(row - np.logaddexp.reduce(row))

    def _state(self, contexts: Iterable[Context]) -> State:
        memory = tuple(contexts)
        return State(np.stack([self._row(context) for context in memory]), memory)

    def _after(self, context: Context, token: int) -> Context:
        if self.order == 1:
            return ()
        return (token,) if token == self.boundary else (*context, token)[1 - self.order :]

    def prefill(self, tokens: Tokens, lengths: Tokens) -> tuple[LogProbabilities, State]:
        """See `speechkit.lm.interface.SequenceModel`."""
        logp = np.zeros((*tokens.shape, self.vocabulary))
        contexts = []
        for row, (sequence, length) in enumerate(zip(tokens.tolist(), lengths.tolist(), strict=True)):
            context: Context = ()
            for position, token in enumerate(sequence[:length]):
                context = self._after(context, token)
                logp[row, position] = self._row(context)
            contexts.append(context)
        return logp, self._state(contexts)

    def step(self, state: State, tokens: Tokens) -> State:
        """See `speechkit.lm.interface.SequenceModel`."""
        return self._state(map(self._after, state.memory, tokens.tolist()))

    def select(self, state: State, rows: Tokens) -> State:
        """See `speechkit.lm.interface.SequenceModel`."""
        return State(state.logp[rows], tuple(state.memory[row] for row in rows.tolist()))

    def score_tree(self, state: State, tokens: Tokens, parents: Tokens) -> TreeState:
        """See `speechkit.lm.interface.SequenceModel`."""
        return score_tree_by_steps(self, state, tokens, parents)

    def commit(self, tree: TreeState, path: Sequence[int]) -> State:
        """See `speechkit.lm.interface.SequenceModel`."""
        return commit_by_steps(self, tree, path)
