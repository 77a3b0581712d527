"""In-context language learning: strings of a random regular language with known next-symbol probabilities.

Every instance has its own language, which can be learned only from the strings of that instance. Languages are compared
by their minimal automata, so that two automata of the same language count as one.

Source: Akyürek et al. 2024, section 3. Here each training instance has a new language, never one of the test.

Notation used for shapes: T tokens of an instance, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SYMBOLS = 18
SEPARATOR = 0
"""Token before every string; symbols are 1 … 18."""
VOCABULARY = SYMBOLS + 1
Edges = tuple[tuple[tuple[int, int], ...], ...]
"""For each state its (symbol, next state) pairs, sorted by symbol; state 0 is initial."""


@dataclass(frozen=True)
class Instance:
    """Concatenated strings of one language.

    Attributes:
        tokens: (T,) with a separator before each string.
        following: (T, V) probability of each token after each position; all zero where a string ends.
    """

    tokens: NDArray[np.int64]
    following: NDArray[np.float64]

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(T,) positions followed by a symbol; the ends of strings are not predicted."""
        scored: NDArray[np.bool_] = np.greater(self.following.sum(1), 0)
        return scored


def minimal(edges: Edges) -> Edges:
    """The minimal automaton of the same language, states numbered in breadth-first order of symbols."""
    reached = [0]
    for state in reached:
        reached.extend(sorted({target for _, target in edges[state]} - set(reached)))
    # Partition refinement: states stay in one class while the same symbols lead to the same classes.
    classes = dict.fromkeys(reached, 0)
    while True:
        signatures = {state: tuple((symbol, classes[target]) for symbol, target in edges[state]) for state in reached}
        distinct = dict.fromkeys(signatures[state] for state in reached)
        numbers = {signature: number for number, signature in enumerate(distinct)}
        finer = {state: numbers[signatures[state]] for state in reached}
        if len(numbers) == len(set(classes.values())):
            break
        classes = finer
    representative = {number: state for state, number in reversed(list(finer.items()))}
    order, rows = [finer[0]], []
    for number in order:
        row = [(symbol, finer[target]) for symbol, target in edges[representative[number]]]
        order.extend(target for target in dict.fromkeys(target for _, target in row) if target not in order)
        rows.append(row)
    return tuple(tuple((symbol, order.index(target)) for symbol, target in row) for row in rows)


def random_automaton(random: np.random.Generator, taken: Collection[Edges] = ()) -> Edges:
    """A random automaton of 4 to 12 states over 4 to 18 symbols, minimised, that is not in ``taken``.

    Each state has one to three edges with distinct symbols and targets, none to itself; all states accept.
    """
    while True:
        states, symbols = int(random.integers(4, 13)), int(random.integers(4, SYMBOLS + 1))
        alphabet = np.sort(random.permutation(SYMBOLS)[:symbols] + 1)
        rows = []
        for state in range(states):
            number = int(random.integers(1, 4))
            chosen = np.sort(random.permutation(alphabet)[:number])
            others = [other for other in range(states) if other != state]
            targets = random.permutation(others)[:number]
            rows.append(tuple((int(symbol), int(target)) for symbol, target in zip(chosen, targets, strict=True)))
        edges = minimal(tuple(rows))
        if edges not in taken:
            return edges


def instance(
    edges: Edges, random: np.random.Generator, strings: tuple[int, int] = (10, 19), longest: int = 49
) -> Instance:
    """Random strings of a language, each of 1 to ``longest`` symbols; the edges of a state are equally likely."""
    tokens, following = [], []
    for _ in range(int(random.integers(strings[0], strings[1] + 1))):
        state, token = 0, SEPARATOR
        for _ in range(int(random.integers(1, longest + 1))):
            probabilities = np.zeros(VOCABULARY)
            probabilities[[symbol for symbol, _ in edges[state]]] = 1 / len(edges[state])
            tokens.append(token)
            following.append(probabilities)
            token, state = edges[state][int(random.integers(len(edges[state])))]
        tokens.append(token)
        following.append(np.zeros(VOCABULARY))
    return Instance(np.array(tokens), np.array(following))


def distances(instance: Instance, probabilities: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """At scored positions: whether the likeliest token of (T, V) is possible, and the total variation distance."""
    true, predicted = instance.following[instance.scored], probabilities[instance.scored]
    possible = true[np.arange(len(true)), predicted.argmax(1)] > 0
    return possible, np.abs(true - predicted).sum(1) / 2


def context_ngram(tokens: NDArray[np.int64], order: int) -> NDArray[np.float64]:
    """Probabilities (T, V) by counts after the longest known context of at most ``order`` - 1 tokens of the instance.

    Separators are never predicted; before the first symbol the distribution is uniform.
    """
    probabilities = np.full((len(tokens), VOCABULARY), 1 / SYMBOLS)
    probabilities[:, SEPARATOR] = 0
    counts: dict[tuple[int, ...], NDArray[np.float64]] = {}
    row = tokens.tolist()
    for position in range(len(row)):
        for size in range(order - 1, -1, -1):
            seen = counts.get(tuple(row[position + 1 - size : position + 1])) if size <= position + 1 else None
            if seen is not None:
                probabilities[position] = seen / seen.sum()
                break
        if position + 1 < len(row) and row[position + 1] != SEPARATOR:
            for size in range(min(order, position + 2)):
                context = tuple(row[position + 1 - size : position + 1])
                counts.setdefault(context, np.zeros(VOCABULARY))[row[position + 1]] += 1
    return probabilities
