"""Sentences read out of document order, found by votes of shared windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speechkit.mining.alignment.anchors import shared_windows
from speechkit.mining.alignment.placement import Match, SearchedText, locate

WINDOW = 8  # characters
MIN_LENGTH = 16  # shorter sentences are like too much
MIN_VOTES = 2
MIN_SIMILARITY = 0.7  # out of order, chance likeness is the rule below


def voted_windows(
    a: NDArray[np.int32],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    wanted: NDArray[np.int64],
    b: NDArray[np.int32],
    free: NDArray[np.bool_],
) -> list[tuple[int, int, int]]:
    """Stretches of ``b`` that share most windows with a sentence.

    Args:
        a: coded sentences, joined.
        begins: (s,) first character of every sentence in ``a``.
        ends: (s,) one past its last.
        wanted: indices of the sentences to look for.
        b: coded hypothesis.
        free: (len(b),) where a sentence may be.

    Returns:
        (sentence, low, high) for every wanted sentence with at least two votes for one place.
    """
    count_a, count_b = len(a) - WINDOW + 1, len(b) - WINDOW + 1
    if count_a <= 0 or count_b <= 0 or not len(wanted):
        return []
    opened = np.zeros(len(a) + 1, np.int64)
    usable = wanted[ends[wanted] - begins[wanted] >= max(WINDOW, MIN_LENGTH)]
    opened[begins[usable]] += 1
    opened[ends[usable] - WINDOW + 1] -= 1
    taken = np.concatenate([[0], np.cumsum(~free)])
    pairs = shared_windows(
        a, b, WINDOW, 6, opened.cumsum()[:count_a] > 0, taken[WINDOW : WINDOW + count_b] == taken[:count_b]
    )
    if not len(pairs):
        return []
    sentence = np.searchsorted(begins, pairs[:, 0], "right") - 1
    diagonal = pairs[:, 1] - (pairs[:, 0] - begins[sentence])
    order = np.lexsort((diagonal, sentence))
    sentence, diagonal = sentence[order], diagonal[order]
    drift = np.maximum(20, (ends - begins) // 4)[sentence]
    span = len(a) + 2 * len(b) + 1000
    key = sentence * span + diagonal + len(a)
    votes = np.searchsorted(key, key + drift, "right") - np.arange(len(key))
    first = np.flatnonzero(np.diff(sentence, prepend=-1))
    windows = []
    for start, stop in zip(first.tolist(), [*first[1:].tolist(), len(sentence)], strict=True):
        best = start + int(np.argmax(votes[start:stop]))
        if votes[best] < MIN_VOTES:
            continue
        index = int(sentence[best])
        slack = int(drift[best])
        length = int(ends[index] - begins[index])
        windows.append((index, int(diagonal[best]) - slack, int(diagonal[best]) + 2 * slack + length))
    return windows


def locate_moved(
    a: NDArray[np.int32],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    hypothesis: SearchedText,
    matches: list[Match | None],
    min_similarity: float,
) -> list[Match | None]:
    """Matches with those improved that fit clearly better out of order, in text that no good match covers."""
    sure = 0.6
    free = np.ones(len(hypothesis.codes), bool)
    for match in matches:
        if match is not None and match.similarity >= sure:
            free[match.begin : match.end] = False
    wanted = np.array([i for i, match in enumerate(matches) if match is None or match.similarity < sure], np.int64)
    moved: list[tuple[int, Match]] = []
    for index, low, high in voted_windows(a, begins, ends, wanted, hypothesis.codes, free):
        match = locate(a[begins[index] : ends[index]], hypothesis, low, high, max(min_similarity, MIN_SIMILARITY))
        present = matches[index]
        if match is not None and (present is None or match.similarity > present.similarity + 0.15):
            moved.append((index, match))
    improved = list(matches)
    for index, match in sorted(moved, key=lambda item: -item[1].similarity):
        if free[match.begin : match.end].mean() > 0.7:
            improved[index] = match
            free[match.begin : match.end] = False
    return improved
