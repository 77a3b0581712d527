"""Where the sentences of a document stand in recognised text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from speechkit.mining.alignment.costs import Costs, encode, spread
from speechkit.mining.alignment.moved import locate_moved
from speechkit.mining.alignment.placement import LONG_SENTENCE, Match, SearchedText, locate, locate_long
from speechkit.mining.alignment.text_path import A_LONG, B_LONG, PAIR, TextPath, align_texts, gap_costs

GapKind = Literal["unread", "untranscribed"]
OVERLAP = 20  # characters by which a window reaches into the neighbours, whose ends may be wrong


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

    The document may hold sentences that nobody read, the recording speech that nobody wrote down. The order of the
    document decides between places that are alike; a sentence or paragraph that was moved is found where it fits,
    if the place is free and at least 0.7 similar, so matches need not increase. A place may overlap the next
    sentence's by a few characters; the caller decides which of two sentences keeps audio that both claim.

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
    anchors, support = _project(path, a, b, begins, ends)
    searched = SearchedText(b, np.flatnonzero(b == alphabet.find(" ")), coded, costs)
    matches: list[Match | None] = []
    for index, (low, high) in enumerate(_windows(anchors, ends - begins, len(b))):
        sentence = a[begins[index] : ends[index]]
        if len(sentence) <= LONG_SENTENCE:
            matches.append(locate(sentence, searched, low, high, min_similarity))
        else:
            own_low, own_high = anchors[index].tolist()
            matches.append(locate_long(sentence, searched, own_low, own_high, float(support[index]), min_similarity))
    matches = locate_moved(a, begins, ends, searched, matches, min_similarity)
    return Located(matches, _corners(path, len(a), len(b)), _gaps(path))


def sentence_borders(sentences: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First character of every sentence and one past its last, in the sentences joined by single spaces."""
    lengths = np.array([len(sentence) for sentence in sentences], np.int64)
    begins = np.cumsum(lengths + 1) - lengths - 1
    return begins, begins + lengths


def _project(
    path: TextPath, a: NDArray[np.int32], b: NDArray[np.int32], begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """First and last hypothesis character paired with each sentence, and the share of its characters heard."""
    pairs = path.stretches[path.stretches[:, 0] == PAIR]
    count = len(begins)
    anchors = np.empty((count, 2), np.int64)
    anchors[:, 0] = np.iinfo(np.int64).max // 2
    anchors[:, 1] = -1
    support = np.zeros(count)
    equal = np.zeros(count)
    for _, a0, a1, b0, _ in pairs.tolist():
        first = int(np.searchsorted(ends, a0, "right"))
        for index in range(first, count):
            low, high = max(int(begins[index]), a0), min(int(ends[index]), a1)
            if low >= high:
                break
            anchors[index, 0] = min(anchors[index, 0], b0 + low - a0)
            anchors[index, 1] = max(anchors[index, 1], b0 + high - a0)
            support[index] += high - low
            if ends[index] - begins[index] > LONG_SENTENCE:
                equal[index] += (a[low:high] == b[b0 + low - a0 : b0 + high - a0]).sum()
    support /= np.maximum(ends - begins, 1)
    weak = support < 0.4
    anchors[weak, 0] = np.iinfo(np.int64).max // 2
    anchors[weak, 1] = -1
    return anchors, equal / np.maximum(ends - begins, 1)


def _windows(anchors: NDArray[np.int64], lengths: NDArray[np.int64], hypothesis_length: int) -> list[tuple[int, int]]:
    """Where each sentence may be: between its located neighbours, or around its own place if those are far apart.

    A sentence without a place of its own between far neighbours gets an empty window; votes look for it later.
    """
    floor = np.concatenate([[0], np.maximum.accumulate(anchors[:, 1])])
    ceiling = np.concatenate([np.minimum.accumulate(anchors[::-1, 0])[::-1], [hypothesis_length]])
    windows = []
    for index, length in enumerate(lengths.tolist()):
        low, high = int(floor[index]) - OVERLAP, int(ceiling[index + 1]) + OVERLAP
        if high - low > 20 * length + 4000:
            own_low, own_high = anchors[index].tolist()
            low, high = (max(low, own_low - length), min(high, own_high + length)) if own_high >= 0 else (0, 0)
        windows.append((max(low, 0), min(high, hypothesis_length)))
    return windows


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
    gaps: list[tuple[GapKind, int, int, int, int]] = []
    for kind, a0, a1, b0, b1 in path.stretches.tolist():
        if kind == A_LONG:
            gaps.append(("unread", a0, a1, b0, b1))
        elif kind == B_LONG:
            gaps.append(("untranscribed", a0, a1, b0, b1))
    return gaps
