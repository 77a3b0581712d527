"""Where the sentences of a document stand in recognised text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from speechkit.mining.alignment.costs import CodedCosts, Costs, encode, spread
from speechkit.mining.alignment.text_path import A_LONG, B_LONG, PAIR, TextPath, align_texts, gap_costs

GapKind = Literal["unread", "untranscribed"]


@dataclass(frozen=True)
class Match:
    """A sentence's place: ``hypothesis[begin:end]``.

    ``similarity`` is 1 - edits / longer length (0 to 1); ``edge_cer`` the error rate of the first and last five
    characters (0 to 1); ``margin`` is ``similarity`` less that of the second-best place nearby that does not overlap.
    """

    begin: int
    end: int
    similarity: float
    edge_cer: float
    margin: float


@dataclass(frozen=True, eq=False)
class Located:
    """What :func:`locate_sentences` found.

    Attributes:
        matches: one for every sentence; None where nothing resembles it.
        path: (k, 2) int64 corners of the alignment path: character of the sentences joined by single spaces,
            character of the hypothesis; increasing in both.
        gaps: (kind, document begin, document end, hypothesis begin, hypothesis end) of the stretches that only one
            side has, in order.
    """

    matches: list[Match | None]
    path: NDArray[np.int64]
    gaps: list[tuple[GapKind, int, int, int, int]]


def locate_sentences(
    sentences: Sequence[str],
    hypothesis: str,
    costs: Costs | None = None,
    *,
    min_similarity: float = 0.3,
) -> Located:
    """Find every sentence of a document in the text that a recogniser heard.

    The document may hold sentences that nobody read, the recording speech that nobody wrote down.

    Args:
        sentences: normalised matching keys, in the document's order; empty ones are never found.
        hypothesis: normalised recognised text.
        costs: substitution and gap scores; :func:`learn_costs` fits them to the recogniser.
        min_similarity: places less similar than this are not reported.

    Returns:
        Matches, path and gaps; memory is linear in the texts' lengths.
    """
    costs = costs or Costs()
    document = " ".join(sentences)
    (a, b), alphabet = encode([document, hypothesis])
    coded = spread(costs, alphabet)
    begins, ends = sentence_borders(sentences)
    boundaries = np.unique(np.concatenate([begins, ends, [0, len(a)]]))
    path = align_texts(a, b, gap_costs(costs, coded, len(a), boundaries))
    anchors, _ = _project(path, begins, ends)
    matches: list[Match | None] = []
    floor = np.concatenate([[0], np.maximum.accumulate(anchors[:, 1])])
    ceiling = np.concatenate([np.minimum.accumulate(anchors[::-1, 0])[::-1], [len(b)]])
    spaces = np.flatnonzero(b == alphabet.find(" "))
    for index in range(len(sentences)):
        low = max(int(floor[index]) - 20, 0)
        high = min(int(ceiling[index + 1]) + 20, len(b))
        sentence = a[begins[index] : ends[index]]
        matches.append(_place(sentence, b, spaces, low, high, anchors[index], coded, costs, min_similarity))
    return Located(matches, _corners(path, len(a), len(b)), _gaps(path))


def sentence_borders(sentences: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First character of every sentence and one past its last, in the sentences joined by single spaces."""
    lengths = np.array([len(sentence) for sentence in sentences], np.int64)
    begins = np.cumsum(lengths + 1) - lengths - 1
    return begins, begins + lengths


def _project(
    path: TextPath, begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """First and last hypothesis character paired with each sentence, and the share of the sentence that is paired."""
    pairs = path.stretches[path.stretches[:, 0] == PAIR]
    count = len(begins)
    anchors = np.empty((count, 2), np.int64)
    anchors[:, 0] = np.iinfo(np.int64).max // 2
    anchors[:, 1] = -1
    support = np.zeros(count)
    for _, a0, a1, b0, _ in pairs.tolist():
        first = int(np.searchsorted(ends, a0, "right"))
        for index in range(first, count):
            low, high = max(int(begins[index]), a0), min(int(ends[index]), a1)
            if low >= high:
                break
            anchors[index, 0] = min(anchors[index, 0], b0 + low - a0)
            anchors[index, 1] = max(anchors[index, 1], b0 + high - a0)
            support[index] += high - low
    support /= np.maximum(ends - begins, 1)
    weak = support < 0.4
    anchors[weak, 0] = np.iinfo(np.int64).max // 2
    anchors[weak, 1] = -1
    return anchors, support


def _place(
    sentence: NDArray[np.int32],
    b: NDArray[np.int32],
    spaces: NDArray[np.int64],
    low: int,
    high: int,
    anchor: NDArray[np.int64],
    coded: CodedCosts,
    costs: Costs,
    min_similarity: float,
) -> Match | None:
    from speechkit.mining.alignment.affine_kernels import infix_scores
    from speechkit.mining.alignment.edit_kernels import edit_distance

    if not len(sentence) or high <= low:
        return None
    if high - low > 20 * len(sentence) + 4000:
        if anchor[1] < 0:
            return None
        low, high = max(low, int(anchor[0]) - len(sentence)), min(high, int(anchor[1]) + len(sentence))
    window = b[low:high]
    scores, starts = infix_scores(
        sentence, window, coded.table, costs.match, costs.mismatch, coded.delete[sentence], coded.insert[window],
        costs.short_open,
    )  # fmt: skip
    stop = int(np.argmax(scores))
    start = int(starts[stop])
    if stop <= start:
        return None
    start, stop = _to_words(low + start, low + stop, spaces, len(b))
    start, stop = start - low, stop - low
    if stop <= start:
        return None
    found = b[low + start : low + stop]
    similarity = 1 - edit_distance(sentence, found) / max(len(sentence), len(found))
    if similarity < min_similarity:
        return None
    apart = (np.arange(len(scores)) <= start) | (starts >= stop)
    second = 0.0
    if apart.any():
        other_stop = int(np.argmax(np.where(apart, scores, -np.inf)))
        other = window[int(starts[other_stop]) : other_stop]
        if len(other):
            second = 1 - edit_distance(sentence, other) / max(len(sentence), len(other))
    edges = _edge_error(sentence[:5], found[:8]) + _edge_error(sentence[-5:][::-1], found[-8:][::-1])
    return Match(low + start, low + stop, similarity, edges / 2, similarity - second)


def _to_words(begin: int, end: int, spaces: NDArray[np.int64], length: int) -> tuple[int, int]:
    """Move both ends to the border of a word: a word belongs to the sentence if at least half of it does.

    Words over 24 characters are left alone: the script writes no spaces.
    """

    def word(position: int) -> tuple[int, int]:
        after = int(np.searchsorted(spaces, position, "left"))
        return int(spaces[after - 1]) + 1 if after else 0, int(spaces[after]) if after < len(spaces) else length

    first, last = word(begin)
    if last - first <= 24:
        begin = first if 2 * (last - begin) >= last - first > 0 else last + 1
    first, last = word(end)
    if last - first <= 24:
        end = last if 2 * (end - first) >= last - first > 0 else first - 1
    return min(begin, length), max(min(end, length), 0)


def _edge_error(expected: NDArray[np.int32], heard: NDArray[np.int32]) -> float:
    """Edits between the first characters of the sentence and the best prefix of what was heard, per character."""
    from speechkit.mining.alignment.edit_kernels import prefix_distance

    return float(min(1.0, prefix_distance(expected, heard) / max(len(expected), 1)))


def _corners(path: TextPath, a_length: int, b_length: int) -> NDArray[np.int64]:
    """Corners where the path changes direction, from (0, 0) to the ends."""
    points = [(0, 0)]
    for _, _, a1, _, b1 in path.stretches.tolist():
        points.append((a1, b1))
    points.append((a_length, b_length))
    corners = np.array(points, np.int64)
    step = np.diff(corners, axis=0)
    keep = np.ones(len(corners), bool)
    keep[1:] = step.any(1)
    return corners[keep]


def _gaps(path: TextPath) -> list[tuple[GapKind, int, int, int, int]]:
    found: list[tuple[GapKind, int, int, int, int]] = []
    for kind, a0, a1, b0, b1 in path.stretches.tolist():
        if kind == A_LONG:
            found.append(("unread", a0, a1, b0, b1))
        elif kind == B_LONG:
            found.append(("untranscribed", a0, a1, b0, b1))
    return found
