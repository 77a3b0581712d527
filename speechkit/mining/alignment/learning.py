"""Costs fitted to a recogniser and to the documents' damage by re-estimation from their own alignments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speechkit.mining.alignment.costs import Costs, costs_from_counts, encode, spread
from speechkit.mining.alignment.sentences import sentence_borders
from speechkit.mining.alignment.text_path import A_ALONE, B_ALONE, PAIR, TextPath, align_texts, gap_costs


def learn_costs(
    documents: Sequence[Sequence[str]],
    hypotheses: Sequence[str],
    *,
    start: Costs | None = None,
    rounds: int = 2,
) -> Costs:
    """Re-estimate substitution, deletion and insertion scores from documents aligned with what was heard.

    Each round aligns every pair under the present costs, counts the confusions of the stretches that agree, and
    turns them into log-odds (Viterbi training, the hard form of expectation maximisation). Unread text and
    untranscribed speech do not count.

    Args:
        documents: the sentences' matching keys of each document.
        hypotheses: the recognised text that goes with each.
        start: costs of the first round.
        rounds: how often to align and count.

    Returns:
        Costs for :func:`locate_sentences`; those of ``start`` if too little agrees to count (under 200 characters).
    """
    costs = start or Costs()
    texts = [" ".join(sentences) for sentences in documents] + list(hypotheses)
    coded_texts, alphabet = encode(texts)
    sides = list(zip(coded_texts[: len(documents)], coded_texts[len(documents) :], strict=True))
    borders = [np.unique(np.concatenate(sentence_borders(sentences))) for sentences in documents]
    if len(alphabet) > 1024:
        return costs
    for _ in range(rounds):
        coded = spread(costs, alphabet)
        size = len(alphabet)
        pairs, deleted, inserted = np.zeros((size, size)), np.zeros(size), np.zeros(size)
        for (a, b), boundaries in zip(sides, borders, strict=True):
            path = align_texts(a, b, gap_costs(costs, coded, len(a), boundaries))
            _count(path, a, b, pairs, deleted, inserted)
        if np.trace(pairs) < 200:
            return costs
        costs = costs_from_counts(alphabet, pairs, deleted, inserted, costs)
    return costs


def _count(
    path: TextPath,
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    pairs: NDArray[np.float64],
    deleted: NDArray[np.float64],
    inserted: NDArray[np.float64],
) -> None:
    """Add the confusions of one path to the counts, where at least half of the surroundings agree."""
    kind = path.stretches[:, 0]
    agreed = np.zeros(len(a) + 1)
    paired = path.stretches[kind == PAIR]
    lengths = paired[:, 2] - paired[:, 1]
    offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    at_a = np.repeat(paired[:, 1], lengths) + offsets
    at_b = np.repeat(paired[:, 3], lengths) + offsets
    agreed[at_a] = a[at_a] == b[at_b]
    total = np.concatenate([[0.0], np.cumsum(agreed)])
    reach = 15
    positions = np.arange(len(a) + 1)
    high, low = np.minimum(positions + reach, len(a)), np.maximum(positions - reach, 0)
    trusted = (total[high] - total[low]) >= 0.5 * np.maximum(high - low, 1)
    use = trusted[at_a]
    np.add.at(pairs, (a[at_a[use]], b[at_b[use]]), 1.0)
    for _, begin, end, _, _ in path.stretches[kind == A_ALONE].tolist():
        if trusted[begin]:
            np.add.at(deleted, a[begin:end], 1.0)
    for _, begin, _, spoken, spoken_end in path.stretches[kind == B_ALONE].tolist():
        if trusted[begin]:
            np.add.at(inserted, b[spoken:spoken_end], 1.0)
