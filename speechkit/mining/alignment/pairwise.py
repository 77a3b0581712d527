"""Needleman–Wunsch for any two sequences, with affine gaps and in linear memory."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from speechkit.errors import AlignmentError
from speechkit.mining.alignment.costs import CodedCosts, Costs
from speechkit.mining.alignment.text_path import GapCosts, align_block

OperationKind = Literal["equal", "substitute", "delete", "insert"]
Operation = tuple[OperationKind, int, int, int, int]


@dataclass(frozen=True)
class Scores:
    """What an alignment earns; larger is better.

    Attributes:
        match: two equal items.
        mismatch: two different items.
        gap_open: added once a gap.
        gap_extend: each item in a gap.
        substitution: scores of particular pairs (item of ``a``, item of ``b``), instead of match or mismatch.
    """

    match: float = 1.0
    mismatch: float = -1.0
    gap_open: float = 0.0
    gap_extend: float = -1.0
    substitution: Mapping[tuple[Hashable, Hashable], float] = field(default_factory=dict)


def needleman_wunsch(
    a: Sequence[Hashable], b: Sequence[Hashable], scores: Scores | None = None
) -> tuple[float, list[Operation]]:
    """Best global alignment of two sequences.

    Args:
        a: any sequence of hashable items: a string, words, token ids.
        b: the other sequence.
        scores: match 1, mismatch -1, gap -1 when absent.

    Returns:
        The score and the operations in order, as (kind, a_begin, a_end, b_begin, b_end): ``equal``,
        ``substitute``, ``delete`` (only in ``a``) and ``insert`` (only in ``b``) stretches that tile both sequences.
        Of equally good alignments one is returned, always the same.

    Raises:
        AlignmentError: if a score is not finite.

    Time is O(len(a) * len(b)); memory O(len(a) + len(b)) plus at most 16 MB.

    Source: Needleman and Wunsch 1970; Gotoh 1982 for affine gaps; Hirschberg 1975 and Myers and Miller 1988 for
    linear memory.
    """
    scores = scores or Scores()
    numbers = [scores.match, scores.mismatch, scores.gap_open, scores.gap_extend, *scores.substitution.values()]
    if not np.isfinite(numbers).all():
        raise AlignmentError(f"scores must be finite numbers, got {scores}; replace infinities by a large penalty")
    code_of: dict[Hashable, int] = {}
    for pair in scores.substitution:
        for item in pair:
            code_of.setdefault(item, len(code_of))
    size = len(code_of)
    table = np.full((size, size), float(scores.mismatch))
    np.fill_diagonal(table, scores.match)
    for (x, y), score in scores.substitution.items():
        table[code_of[x], code_of[y]] = score
    coded_a = np.array([code_of.setdefault(item, len(code_of)) for item in a], np.int32)
    coded_b = np.array([code_of.setdefault(item, len(code_of)) for item in b], np.int32)
    never = np.full(len(a) + 1, -1e15)
    extend = np.full(len(code_of), float(scores.gap_extend))
    # Whole numbers as floats too: the kernels are compiled once for each type that they are called with.
    match, mismatch, gap_open = float(scores.match), float(scores.mismatch), float(scores.gap_open)
    costs = Costs(match=match, mismatch=mismatch, short_open=gap_open, long_extend=-1e15)
    gaps = GapCosts(CodedCosts(table, extend, extend), costs, never, never, never)
    operations: list[Operation] = []
    score = 0.0
    i = j = 0
    previous = 0
    for step in align_block(coded_a, coded_b, gaps, 0).tolist():
        i_next, j_next = i + (step != 2), j + (step != 1)
        kind: OperationKind
        if step == 0:
            x, y = coded_a[i], coded_b[j]
            kind = "equal" if x == y else "substitute"
            score += table[x, y] if x < size and y < size else scores.match if x == y else scores.mismatch
        else:
            kind = "delete" if step == 1 else "insert"
            score += scores.gap_extend + (scores.gap_open if step != previous else 0.0)
        previous = step
        if operations and operations[-1][0] == kind:
            operations[-1] = (kind, operations[-1][1], i_next, operations[-1][3], j_next)
        else:
            operations.append((kind, i, i_next, j, j_next))
        i, j = i_next, j_next
    return float(score), operations
