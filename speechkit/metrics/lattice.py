"""References with alternatives, and their exact alignment with a hypothesis.

The reference is a lattice of words with alternatives. One dynamic programme over lattice and hypothesis finds the
cheapest path and alignment together. A plain sentence is a lattice without choices, so that the weights of ``sclite``
use the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError

Weights = Literal["levenshtein", "sclite"]
SUBSTITUTION_AND_GAP: dict[Weights, tuple[int, int]] = {"levenshtein": (1, 1), "sclite": (4, 3)}
MOST_CELLS = 1 << 30  # one byte each
MOST_WAYS = 63  # ending at one position: six bits of a back-pointer


class Choice(msgspec.Struct, frozen=True):
    """``words`` is an alternative to words ``begin`` to ``end`` (half-open) of the reference."""

    begin: int
    end: int
    words: tuple[str, ...]


class Aligned(msgspec.Struct, frozen=True):
    """The chosen reference words and the steps from start to end: ``=`` match, ``s``, ``d`` and ``i``."""

    reference: list[str]
    steps: str
    chosen: list[Choice]


def align_lattice(
    reference: Sequence[str],
    choices: Sequence[Choice],
    hypothesis: Sequence[str],
    weights: Weights = "levenshtein",
) -> Aligned:
    """The cheapest path through the lattice and its alignment.

    Ties, from the end: a match or substitution is preferred to a deletion, and that to an insertion; the reference as
    written is preferred to its alternatives, and these in their order.
    Memory: one byte per pair of lattice word and hypothesis word.

    Raises:
        UserError: if the lattice and the hypothesis are too long, or too many choices end at one position.
    """
    from speechkit.metrics import lattice_kernel

    number: dict[str, int] = {}
    graph = _build(reference, choices, number)
    coded = np.array([number.setdefault(word, len(number)) for word in hypothesis], np.int32)
    cells = len(graph.words) * (len(coded) + 1)
    if cells > MOST_CELLS:
        raise UserError(
            f"{len(graph.words):,} reference and {len(coded):,} hypothesis words are too long for one alignment with "
            "alternatives or sclite's weights; split the recording"
        )
    back = np.empty((len(graph.words), len(coded) + 1), np.uint8)
    rows = np.empty((int(graph.slots.max()) + 1, len(coded) + 1), np.int32)
    substitution, gap = SUBSTITUTION_AND_GAP[weights]
    lattice_kernel.fill(graph.words, graph.first, graph.before, graph.slots, coded, substitution, gap, rows, back)
    return _trace(graph, back, coded)


class _Graph(msgspec.Struct):
    words: NDArray[np.int32]  # (nodes,) code of the node's word, -1 for a junction
    first: NDArray[np.int32]  # (nodes + 1,)
    before: NDArray[np.int32]
    slots: NDArray[np.int32]
    texts: list[str]
    origin: list[int]  # (nodes,) index into choices of the alternative that the node belongs to, else -1
    choices: Sequence[Choice]


def _build(reference: Sequence[str], choices: Sequence[Choice], number: dict[str, int]) -> _Graph:
    """Nodes in topological order, with a junction wherever an alternative ends."""
    starting: dict[int, list[int]] = {}
    for index, choice in enumerate(choices):
        if not 0 <= choice.begin < choice.end <= len(reference):
            raise ValueError(f"choice {choice.begin}:{choice.end} is outside {len(reference)} words")
        starting.setdefault(choice.begin, []).append(index)
    words, texts, origin, before = [-1], [""], [-1], [[]]  # type: ignore[var-annotated]

    def add(word: str | None, predecessors: list[int], source: int) -> int:
        words.append(-1 if word is None else number.setdefault(word, len(number)))
        texts.append(word or "")
        origin.append(source)
        before.append(predecessors)
        return len(words) - 1

    arriving: dict[int, list[int]] = {}
    node = 0
    for position in range(len(reference) + 1):
        if position in arriving:
            ends = [node, *arriving.pop(position)]
            if len(ends) > MOST_WAYS:
                raise UserError(f"{len(ends)} alternatives end at word {position}; give at most {MOST_WAYS - 1}")
            node = add(None, ends, -1)
        for index in starting.get(position, ()):
            last = node
            for word in choices[index].words:
                last = add(word, [last], index)
            if not choices[index].words:  # empty alternative: a junction keeps the choice
                last = add(None, [node], index)
            arriving.setdefault(choices[index].end, []).append(last)
        if position < len(reference):
            node = add(reference[position], [node], -1)
    counts = np.array([len(p) for p in before], np.int32)
    first = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    flat = np.array([p for row in before for p in row], np.int32)
    return _Graph(np.array(words, np.int32), first, flat, _slots(before), texts, origin, choices)


def _slots(before: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """The row of each node's costs; rows are reused after the last node that reads them."""
    last_use = list(range(len(before)))
    for node, predecessors in enumerate(before):
        for p in predecessors:
            last_use[p] = node
    ending: dict[int, list[int]] = {}
    for node, last in enumerate(last_use):
        ending.setdefault(last, []).append(node)
    slots = np.zeros(len(before), np.int32)
    free: list[int] = []
    used = 0
    for node in range(len(before)):
        if free:
            slots[node] = free.pop()
        else:
            slots[node], used = used, used + 1
        free += [int(slots[n]) for n in ending.get(node, ())]
    return slots


def _trace(graph: _Graph, back: NDArray[np.uint8], hypothesis: NDArray[np.int32]) -> Aligned:
    node, j = len(graph.words) - 1, len(hypothesis)
    steps: list[str] = []
    reference: list[str] = []
    taken: list[int] = []
    while node or j:
        code = int(back[node, j])
        step, which = code >> 6, code & 63
        if step == 2:
            steps.append("i")
            j -= 1
            continue
        source = graph.origin[node]
        if source >= 0 and (not taken or taken[-1] != source):
            taken.append(source)
        word = graph.words[node]
        if word >= 0:
            reference.append(graph.texts[node])
            if step == 0:
                steps.append("=" if word == hypothesis[j - 1] else "s")
                j -= 1
            else:
                steps.append("d")
        node = int(graph.before[graph.first[node] + which])
    return Aligned(reference[::-1], "".join(reversed(steps)), [graph.choices[c] for c in reversed(taken)])
