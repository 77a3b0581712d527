"""The place of one sentence inside a window of recognised text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechkit.mining.alignment.costs import CodedCosts, Costs

LONGEST_WORD = 24  # characters; longer ones mean that the script writes no spaces
EDGE = 5
LONG_SENTENCE = 4_000  # characters; what is longer is placed by its two ends


@dataclass(frozen=True)
class Match:
    """A sentence's place: ``hypothesis[begin:end]``.

    Attributes:
        begin: first character of the hypothesis.
        end: one past the last.
        similarity: 1 - edits / length of the longer side, 0 to 1.
        edge_cer: error rate of the sentence's first and last five characters, 0 to 1.
        margin: ``similarity`` less that of the best place that does not overlap, among those that the neighbouring
            sentences leave open; equal to ``similarity`` when they leave no other.
    """

    begin: int
    end: int
    similarity: float
    edge_cer: float
    margin: float


@dataclass(frozen=True, eq=False)
class SearchedText:
    """Coded recognised text with what a search needs to know about it; ``spaces`` are positions, increasing."""

    codes: NDArray[np.int32]
    spaces: NDArray[np.int64]
    coded: CodedCosts
    costs: Costs


def locate(
    sentence: NDArray[np.int32], hypothesis: SearchedText, low: int, high: int, min_similarity: float
) -> Match | None:
    """Best place of a coded sentence inside ``hypothesis.codes[low:high]``, its ends moved to the borders of words.

    Time is O(len(sentence) * (high - low)); None if nothing there is at least ``min_similarity`` alike.
    """
    from speechkit.mining.alignment.affine_kernels import infix_scores

    low, high = max(low, 0), min(high, len(hypothesis.codes))
    if not len(sentence) or high <= low:
        return None
    window = hypothesis.codes[low:high]
    coded, costs = hypothesis.coded, hypothesis.costs
    scores, starts = infix_scores(
        sentence, window, coded.table, costs.match, costs.mismatch, coded.delete[sentence], coded.insert[window],
        costs.short_open,
    )  # fmt: skip
    stop = int(np.argmax(scores))
    start = int(starts[stop])
    if stop <= start:
        return None
    begin, end = to_words(low + start, low + stop, hypothesis.spaces, len(hypothesis.codes))
    if end <= begin:
        return None
    located = hypothesis.codes[begin:end]
    similarity = _similarity(sentence, located)
    if similarity < min_similarity:
        return None
    apart = (np.arange(len(scores)) <= start) | (starts >= stop)
    second = 0.0
    if apart.any():
        other_stop = int(np.argmax(np.where(apart, scores, -np.inf)))
        second = _similarity(sentence, window[int(starts[other_stop]) : other_stop])
    edges = _edge_error(sentence[:EDGE], located[: EDGE + 3])
    edges += _edge_error(sentence[-EDGE:][::-1], located[-EDGE - 3 :][::-1])
    return Match(begin, end, similarity, edges / 2, similarity - second)


def locate_long(
    sentence: NDArray[np.int32], hypothesis: SearchedText, low: int, high: int, similarity: float, min_similarity: float
) -> Match | None:
    """Place of an overlong sentence that the path runs through from ``low`` to ``high``: its ends are placed alone.

    ``similarity`` is the share of its characters that the path pairs with equal ones.
    """
    end = LONG_SENTENCE // 8
    if high < 0 or similarity < min_similarity:
        return None
    head = locate(sentence[:end], hypothesis, low - end, low + 2 * end, min_similarity)
    tail = locate(sentence[-end:], hypothesis, high - 2 * end, high + end, min_similarity)
    if head is None or tail is None or tail.end <= head.begin:
        return Match(low, high, similarity, 1.0, similarity)
    return Match(head.begin, tail.end, similarity, (head.edge_cer + tail.edge_cer) / 2, similarity)


def to_words(begin: int, end: int, spaces: NDArray[np.int64], length: int) -> tuple[int, int]:
    """Move both ends to the border of a word: a word belongs to the sentence if at least half of it does."""

    def word(position: int) -> tuple[int, int]:
        after = int(np.searchsorted(spaces, position, "left"))
        return int(spaces[after - 1]) + 1 if after else 0, int(spaces[after]) if after < len(spaces) else length

    first, last = word(begin)
    if last - first <= LONGEST_WORD:
        begin = first if 2 * (last - begin) >= last - first > 0 else last + 1
    first, last = word(end)
    if last - first <= LONGEST_WORD:
        end = last if 2 * (end - first) >= last - first > 0 else first - 1
    return min(begin, length), max(min(end, length), 0)


def _similarity(sentence: NDArray[np.int32], candidate: NDArray[np.int32]) -> float:
    from speechkit.mining.alignment.edit_kernels import edit_distance

    return 1 - edit_distance(sentence, candidate) / max(len(sentence), len(candidate))


def _edge_error(expected: NDArray[np.int32], spoken: NDArray[np.int32]) -> float:
    """Edits between the first characters of the sentence and the best prefix of what was heard, per character."""
    from speechkit.mining.alignment.edit_kernels import prefix_distance

    return float(min(1.0, prefix_distance(expected, spoken) / max(len(expected), 1)))
