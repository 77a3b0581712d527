"""Small sequence models whose every probability is known."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from speechkit.lm.interface import State, commit_by_steps, score_tree_by_steps
from speechkit.lm.ngram_training import estimate
from speechkit.lm.table_model import NgramTable


class Markov:
    """Token v follows token u with probability ``table[u, v]`` (V, V); the last token is the boundary."""

    def __init__(self, table):
        self.logp = np.log(table)
        self.vocabulary = len(table)
        self.boundary = len(table) - 1

    def prefill(self, tokens, lengths):
        last = tokens[np.arange(len(tokens)), lengths - 1]
        return self.logp[tokens], State(self.logp[last], last)

    def step(self, state, tokens):
        return State(self.logp[tokens], tokens)

    def select(self, state, rows):
        return State(state.logp[rows], state.memory[rows])

    def score_tree(self, state, tokens, parents):
        return score_tree_by_steps(self, state, tokens, parents)

    def commit(self, tree, path):
        return commit_by_steps(self, tree, path)


def random_markov(vocabulary, seed, sharpness=1.0, endless=False):
    """Rows drawn from a Dirichlet distribution; ``endless``: the boundary never follows."""
    table = np.random.default_rng(seed).dirichlet(np.full(vocabulary, sharpness), vocabulary)
    if endless:
        table[:, -1] = 0
        table /= table.sum(1, keepdims=True)
    with np.errstate(divide="ignore"):
        return Markov(table)


@lru_cache
def unit_trigram(units=5, order=3, seed=0):
    """An n-gram table of sequences in which each unit mostly fixes the next."""
    random = np.random.default_rng(seed)
    sentences = []
    for _ in range(30):
        unit, words = int(random.integers(units - 1)), []
        for _ in range(int(random.integers(2, 12))):
            words.append(str(unit))
            unit = (unit + (1 if random.random() < 0.7 else int(random.integers(1, units - 1)))) % (units - 1)
        sentences.append(words)
    return NgramTable(estimate(sentences, order)[0], units)
