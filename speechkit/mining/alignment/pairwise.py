"""Needleman–Wunsch for any two sequences, with affine gaps and in linear memory."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from math import lcm
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import AlignmentError
from speechkit.mining.alignment.costs import CodedCosts, Costs
from speechkit.mining.alignment.text_path import GapCosts, align_block

OperationKind = Literal["equal", "substitute", "delete", "insert"]
Operation = tuple[OperationKind, int, int, int, int]

WHOLE_CELLS = 1 << 16  # smaller blocks are aligned at once
REMEMBERED_BYTES = 1 << 24  # of the rows where the path is cut in one pass
LARGEST_DENOMINATOR = 10**6


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
        Of equally good alignments one is returned, always the same: from the end backwards, a pair goes before a
        deletion, a deletion before an insertion, and a longer gap before another one.

    Raises:
        AlignmentError: if a score is not finite.

    Time is O(len(a) * len(b)), as vectors where the scores are fractions with a common denominator up to a million
    (then scores and ties are exact), as single numbers otherwise; memory is O(len(a) + len(b)) plus at most 32 MB.

    Source: Needleman and Wunsch 1970; Gotoh 1982 for affine gaps; Hirschberg 1975 and Myers and Miller 1988 for
    linear memory.
    """
    scores = scores or Scores()
    numbers = [scores.match, scores.mismatch, scores.gap_open, scores.gap_extend, *scores.substitution.values()]
    numbers = [float(number) for number in numbers]  # the kernels are compiled once for each type
    if not np.isfinite(numbers).all():
        raise AlignmentError(f"scores must be finite numbers, got {scores}; replace infinities by a large penalty")
    unit = _common_denominator(numbers, len(a), len(b))
    match, mismatch, gap_open, gap_extend = (score * (unit or 1) for score in numbers[:4])
    code_of: dict[Hashable, int] = {}
    for pair in scores.substitution:
        for item in pair:
            code_of.setdefault(item, len(code_of))
    size = len(code_of)
    table = np.full((size, size), mismatch)
    np.fill_diagonal(table, match)
    for (x, y), value in scores.substitution.items():
        table[code_of[x], code_of[y]] = value * (unit or 1)
    coded_a = np.array([code_of.setdefault(item, len(code_of)) for item in a], np.int32)
    coded_b = np.array([code_of.setdefault(item, len(code_of)) for item in b], np.int32)
    never = np.full(len(a) + 1, -1e15)
    extend = np.full(len(code_of), gap_extend)
    costs = Costs(match=match, mismatch=mismatch, short_open=gap_open, long_extend=-1e15)
    gaps = GapCosts(CodedCosts(table, extend, extend), costs, never, never, never)
    if unit is None:
        steps = align_block(coded_a, coded_b, gaps, 0)
    else:
        steps = _align_divided(coded_a, coded_b, gaps, gap_extend)
    operations: list[Operation] = []
    score = 0.0
    i = j = 0
    previous = 0
    for step in steps.tolist():
        i_next, j_next = i + (step != 2), j + (step != 1)
        kind: OperationKind
        if step == 0:
            x, y = coded_a[i], coded_b[j]
            kind = "equal" if x == y else "substitute"
            score += table[x, y] if x < size and y < size else match if x == y else mismatch
        else:
            kind = "delete" if step == 1 else "insert"
            score += gap_extend + (gap_open if step != previous else 0.0)
        previous = step
        if operations and operations[-1][0] == kind:
            operations[-1] = (kind, operations[-1][1], i_next, operations[-1][3], j_next)
        else:
            operations.append((kind, i, i_next, j, j_next))
        i, j = i_next, j_next
    return float(score / (unit or 1)), operations


def _common_denominator(numbers: Sequence[float], rows: int, columns: int) -> int | None:
    """What makes all scores whole numbers that the vectors can hold for a path of that many steps, if anything does."""
    from speechkit.mining.alignment.antidiagonal_kernels import LARGEST_COLUMNS, LARGEST_SCORE

    # As written: 0.1 is a tenth, not the binary fraction nearest to it.
    unit = lcm(*(Fraction(repr(number)).denominator for number in numbers))
    largest = max(map(abs, numbers)) * unit * (rows + columns + 2) * 2
    return unit if unit <= LARGEST_DENOMINATOR and largest < LARGEST_SCORE and columns < LARGEST_COLUMNS else None


def _align_divided(a: NDArray[np.int32], b: NDArray[np.int32], gaps: GapCosts, gap_extend: float) -> NDArray[np.uint8]:
    """`align_block` for whole-number scores and short gaps only; every pass cuts the path at many rows."""
    from speechkit.mining.alignment.affine_kernels import align_with_trace
    from speechkit.mining.alignment.antidiagonal_kernels import crossings

    costs, coded = gaps.costs, gaps.coded
    size = len(coded.table)
    table = np.full((size + 1, size + 1), round(costs.mismatch), np.int64)
    table[:size, :size] = coded.table
    pieces: list[NDArray[np.uint8]] = []
    trace = np.empty(0, np.uint8)
    todo = [(0, len(a), 0, len(b), 0, 0)]
    while todo:
        a0, a1, b0, b1, start, end = todo.pop()
        rows, columns = a1 - a0, b1 - b0
        part_a, part_b = a[a0:a1], b[b0:b1]
        cells = (rows + 1) * (columns + 1)
        if cells <= WHOLE_CELLS or rows < 2:
            if len(trace) < cells:
                trace = np.empty(cells, np.uint8)
            positions = slice(a0, a1 + 1)
            pieces.append(
                align_with_trace(
                    part_a, part_b, coded.table, costs.match, costs.mismatch, coded.delete[part_a],
                    coded.insert[part_b], costs.short_open, gaps.long_open_a[positions], gaps.long_close_a[positions],
                    gaps.long_open_b[positions], costs.long_extend, start, end, trace,
                )[1]
            )  # fmt: skip
            continue
        remembered = max(1, REMEMBERED_BYTES // (8 * (columns + 1)))
        interval = min(max(-(-rows // (remembered + 1)), 64), -(-rows // 2))
        crossed = crossings(
            part_a, part_b, table.ravel(), size, round(costs.match), round(costs.short_open), round(gap_extend),
            start, end, interval,
        )  # fmt: skip
        cuts = [(0, 0, start), *map(tuple, crossed.tolist()), (rows, columns, end)]
        for (top, left, entered), (bottom, right, left_in) in reversed(list(pairwise(cuts))):
            todo.append((a0 + top, a0 + bottom, b0 + left, b0 + right, entered, left_in))
    return np.concatenate(pieces) if pieces else np.zeros(0, np.uint8)
