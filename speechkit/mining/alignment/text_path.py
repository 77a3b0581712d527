"""The path of one long text against another: anchors, their chain, and exact alignment in the gaps between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechkit.mining.alignment.anchors import chain, runs, shared_windows
from speechkit.mining.alignment.costs import CodedCosts, Costs

TRACE_CELLS = 16_000_000  # one byte each
EXACT_CELLS = 20_000_000  # larger rectangles without anchors are aligned from their corners only
CORNER = 2_000
PAIR, A_ALONE, B_ALONE, A_LONG, B_LONG = range(5)


@dataclass(frozen=True, eq=False)
class TextPath:
    """An alignment of all of ``a`` with all of ``b`` as stretches, in order, that tile both.

    ``stretches`` (s, 5) int64: kind, a_begin, a_end, b_begin, b_end; kinds are PAIR (equally long on both sides),
    A_ALONE and B_ALONE (a few characters), A_LONG and B_LONG (text not read, speech not written).
    """

    stretches: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GapCosts:
    """Costs at every position of ``a`` for long gaps, and of every symbol for short ones."""

    coded: CodedCosts
    costs: Costs
    long_open_a: NDArray[np.float64]
    long_close_a: NDArray[np.float64]
    long_open_b: NDArray[np.float64]


def gap_costs(costs: Costs, coded: CodedCosts, length: int, boundaries: NDArray[np.int64]) -> GapCosts:
    """Long gaps start and end cheaply at ``boundaries``, positions of ``a`` between sentences."""
    inside = costs.long_open_inside - costs.long_open
    at_boundary = np.zeros(length + 1, bool)
    at_boundary[boundaries] = True
    half = np.where(at_boundary, costs.long_open / 2, costs.long_open / 2 + inside / 2)
    whole = np.where(at_boundary, costs.long_open, costs.long_open_inside)
    return GapCosts(coded, costs, half, half, whole)


def align_block(a: NDArray[np.int32], b: NDArray[np.int32], gaps: GapCosts, begin: int) -> NDArray[np.uint8]:
    """Operations of the best alignment of ``a`` with ``b``, in memory bounded by TRACE_CELLS.

    ``begin`` is the position of ``a[0]`` in the whole text. Larger blocks are divided at the row where the best
    path crosses the middle.
    """
    from speechkit.mining.alignment.affine_kernels import align_with_trace, crossing_of_row

    costs, coded = gaps.costs, gaps.coded
    pieces: list[NDArray[np.uint8]] = []
    trace = np.empty(0, np.uint8)
    todo = [(0, len(a), 0, len(b), 0, 0)]
    while todo:
        a0, a1, b0, b1, start, end = todo.pop()
        part_a, part_b = a[a0:a1], b[b0:b1]
        positions = slice(begin + a0, begin + a1 + 1)
        arguments = (
            part_a, part_b, coded.table, costs.match, costs.mismatch, coded.delete[part_a], coded.insert[part_b],
            costs.short_open, gaps.long_open_a[positions], gaps.long_close_a[positions],
            gaps.long_open_b[positions], costs.long_extend, start, end,
        )  # fmt: skip
        cells = (a1 - a0 + 1) * (b1 - b0 + 1)
        if cells <= TRACE_CELLS or a1 - a0 < 2:
            if len(trace) < cells:
                trace = np.empty(cells, np.uint8)
            pieces.append(align_with_trace(*arguments, trace)[1])
            continue
        middle = (a1 - a0) // 2
        _, column, state = crossing_of_row(*arguments, middle)
        todo.append((a0 + middle, a1, b0 + column, b1, state, end))
        todo.append((a0, a0 + middle, b0, b0 + column, start, state))
    return np.concatenate(pieces) if pieces else np.zeros(0, np.uint8)


def stretches_of(operations: NDArray[np.uint8], a_begin: int, b_begin: int) -> list[tuple[int, int, int, int, int]]:
    """Run-length coded operations as (kind, a_begin, a_end, b_begin, b_end)."""
    if not len(operations):
        return []
    borders = np.flatnonzero(np.diff(operations)) + 1
    starts = np.concatenate([[0], borders])
    lengths = np.diff(np.concatenate([starts, [len(operations)]]))
    stretches = []
    i, j = a_begin, b_begin
    for kind, length in zip(operations[starts].tolist(), lengths.tolist(), strict=True):
        a_step = length if kind in (PAIR, A_ALONE, A_LONG) else 0
        b_step = length if kind in (PAIR, B_ALONE, B_LONG) else 0
        stretches.append((kind, i, i + a_step, j, j + b_step))
        i, j = i + a_step, j + b_step
    return stretches


def align_texts(a: NDArray[np.int32], b: NDArray[np.int32], gaps: GapCosts, k: int = 12) -> TextPath:
    """Align two coded texts of any length.

    Time is O(n log n) for the anchors plus the cells of the gaps between them; memory is O(n) plus TRACE_CELLS bytes.
    """
    stretches: list[tuple[int, int, int, int, int]] = []
    _align_region(a, b, 0, 0, gaps, k, stretches)
    return TextPath(np.array(stretches, np.int64).reshape(-1, 5))


def _align_region(
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    a_begin: int,
    b_begin: int,
    gaps: GapCosts,
    k: int,
    stretches: list[tuple[int, int, int, int, int]],
) -> None:
    if not len(a) or not len(b):
        if len(a):
            kind = A_LONG if len(a) > 20 else A_ALONE
            stretches.append((kind, a_begin, a_begin + len(a), b_begin, b_begin))
        if len(b):
            kind = B_LONG if len(b) > 20 else B_ALONE
            stretches.append((kind, a_begin + len(a), a_begin + len(a), b_begin, b_begin + len(b)))
        return
    cells = (len(a) + 1) * (len(b) + 1)
    if cells <= 250_000 or (k < 6 and cells <= EXACT_CELLS):
        stretches.extend(stretches_of(align_block(a, b, gaps, a_begin), a_begin, b_begin))
        return
    if k < 6:
        _align_corners(a, b, a_begin, b_begin, gaps, stretches)
        return
    anchored = runs(chain(shared_windows(a, b, k), k), k)
    done_a = done_b = 0
    for i, j, length in anchored.tolist():
        # The ends of a run may agree by accident; the gap alignment decides over them again.
        trim = min(3, (length - 1) // 2)
        i, j, length = i + trim, j + trim, length - 2 * trim
        _align_region(a[done_a:i], b[done_b:j], a_begin + done_a, b_begin + done_b, gaps, k - 4, stretches)
        stretches.append((PAIR, a_begin + i, a_begin + i + length, b_begin + j, b_begin + j + length))
        done_a, done_b = i + length, j + length
    _align_region(a[done_a:], b[done_b:], a_begin + done_a, b_begin + done_b, gaps, k - 4, stretches)


def _align_corners(
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    a_begin: int,
    b_begin: int,
    gaps: GapCosts,
    stretches: list[tuple[int, int, int, int, int]],
) -> None:
    """Align a large rectangle that has no anchors: march from its start while the texts agree, then its end.

    What lies between is unread text beside untranscribed speech. Text that repeats one phrase has no rare windows
    and is aligned by the march alone, in linear time.
    """
    i = j = 0
    while (len(a) - i + 1) * (len(b) - j + 1) > EXACT_CELLS:
        block_a, block_b = a[i : i + CORNER], b[j : j + CORNER]
        operations = align_block(block_a, block_b, gaps, a_begin + i)
        at_a = np.cumsum((operations != B_ALONE) & (operations != B_LONG))
        at_b = np.cumsum((operations != A_ALONE) & (operations != A_LONG))
        half = int(np.searchsorted(at_a + at_b, (len(block_a) + len(block_b)) // 2))
        paired = operations[:half] == PAIR
        equal = block_a[at_a[:half][paired] - 1] == block_b[at_b[:half][paired] - 1]
        if equal.sum() < 0.5 * half:
            break
        stretches.extend(stretches_of(operations[:half], a_begin + i, b_begin + j))
        i, j = i + int(at_a[half - 1]), j + int(at_b[half - 1])
    a, b, a_begin, b_begin = a[i:], b[j:], a_begin + i, b_begin + j
    if (len(a) + 1) * (len(b) + 1) <= EXACT_CELLS:
        stretches.extend(stretches_of(align_block(a, b, gaps, a_begin), a_begin, b_begin))
        return
    left_a, left_b = min(CORNER, len(a) // 2), min(CORNER, len(b) // 2)
    right_a = len(a) - min(CORNER, len(a) - left_a)
    right_b = len(b) - min(CORNER, len(b) - left_b)
    stretches.extend(stretches_of(align_block(a[:left_a], b[:left_b], gaps, a_begin), a_begin, b_begin))
    if right_a > left_a:
        stretches.append((A_LONG, a_begin + left_a, a_begin + right_a, b_begin + left_b, b_begin + left_b))
    if right_b > left_b:
        stretches.append((B_LONG, a_begin + right_a, a_begin + right_a, b_begin + left_b, b_begin + right_b))
    tail = align_block(a[right_a:], b[right_b:], gaps, a_begin + right_a)
    stretches.extend(stretches_of(tail, a_begin + right_a, b_begin + right_b))
