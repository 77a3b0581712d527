"""In-context language learning: strings of a random regular language with known next-symbol probabilities.

Every instance has a language of its own, so that it can only be learnt from the strings of the instance. Languages are
told apart by their minimal automata: two drawings of one language are one language.

Source: Akyürek et al. 2024, section 3. Here training draws a new language each time, and none of the test.

Notation used for shapes: T tokens of an instance, V tokens in all.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SYMBOLS = 18
SEPARATOR = 0
"""Before every string; symbols are 1 … 18."""
VOCABULARY = SYMBOLS + 1
Edges = tuple[tuple[tuple[int, int], ...], ...]
"""Of each state the symbols that may come and the states that they lead to, by symbol; state 0 is the first."""


@dataclass(frozen=True)
class Instance:
    """Strings of one language in a row.

    Attributes:
        tokens: (T,) a separator before each string.
        following: (T, V) chance of each token behind each position, zero throughout where the string ends.
    """

    tokens: NDArray[np.int64]
    following: NDArray[np.float64]

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(T,) positions behind which a symbol comes; ends of strings are not foreseen."""
        scored: NDArray[np.bool_] = np.greater(self.following.sum(1), 0)
        return scored


def minimal(edges: Edges) -> Edges:
    """The one smallest automaton of the same strings, its states in the order in which symbols reach them."""
    reached = [0]
    for state in reached:
        reached.extend(sorted({target for _, target in edges[state]} - set(reached)))
    # States are one as long as the same symbols lead to states that are one.
    kinds = dict.fromkeys(reached, 0)
    while True:
        looks = {state: tuple((symbol, kinds[target]) for symbol, target in edges[state]) for state in reached}
        numbers = {look: number for number, look in enumerate(dict.fromkeys(looks[state] for state in reached))}
        finer = {state: numbers[looks[state]] for state in reached}
        if len(numbers) == len(set(kinds.values())):
            break
        kinds = finer
    one_of = {kind: state for state, kind in reversed(list(finer.items()))}
    order, made = [finer[0]], []
    for kind in order:
        row = [(symbol, finer[target]) for symbol, target in edges[one_of[kind]]]
        order.extend(each for each in dict.fromkeys(target for _, target in row) if each not in order)
        made.append(row)
    return tuple(tuple((symbol, order.index(kind)) for symbol, kind in row) for row in made)


def random_automaton(random: np.random.Generator, taken: Collection[Edges] = ()) -> Edges:
    """A minimal automaton of 4 to 12 states before it was made so, over 4 to 18 symbols, that is not taken.

    Of a state one to three edges go out, with symbols and targets of their own, none to itself; all states accept.
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
    """Strings of a language: so many, each of 1 to ``longest`` symbols, each edge of a state as likely."""
    tokens, following = [], []
    for _ in range(int(random.integers(strings[0], strings[1] + 1))):
        state, token = 0, SEPARATOR
        for _ in range(int(random.integers(1, longest + 1))):
            chances = np.zeros(VOCABULARY)
            chances[[symbol for symbol, _ in edges[state]]] = 1 / len(edges[state])
            tokens.append(token)
            following.append(chances)
            token, state = edges[state][int(random.integers(len(edges[state])))]
        tokens.append(token)
        following.append(np.zeros(VOCABULARY))
    return Instance(np.array(tokens), np.array(following))


def distances(instance: Instance, chances: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Of scored positions: whether the likeliest of (T, V) may come, and half the sum of differences of chances."""
    wanted, found = instance.following[instance.scored], chances[instance.scored]
    likeliest = wanted[np.arange(len(wanted)), found.argmax(1)] > 0
    return likeliest, np.abs(wanted - found).sum(1) / 2


def context_ngram(tokens: NDArray[np.int64], order: int) -> NDArray[np.float64]:
    """Chances (T, V) by what followed the longest seen context of at most ``order`` - 1 tokens in the instance so far.

    Separators are never foreseen; where no symbol has been seen at all, every one is as likely.
    """
    chances = np.full((len(tokens), VOCABULARY), 1 / SYMBOLS)
    chances[:, SEPARATOR] = 0
    counts: dict[tuple[int, ...], NDArray[np.float64]] = {}
    row = tokens.tolist()
    for position in range(len(row)):
        for size in range(order - 1, -1, -1):
            seen = counts.get(tuple(row[position + 1 - size : position + 1])) if size <= position + 1 else None
            if seen is not None:
                chances[position] = seen / seen.sum()
                break
        if position + 1 < len(row) and row[position + 1] != SEPARATOR:
            for size in range(min(order, position + 2)):
                context = tuple(row[position + 1 - size : position + 1])
                counts.setdefault(context, np.zeros(VOCABULARY))[row[position + 1]] += 1
    return chances
