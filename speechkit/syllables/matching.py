"""Linear-time matching of boundaries, tokens and intervals of two segmentations.

Times are integer microseconds, which makes comparisons with the tolerance exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechkit.errors import UserError
from speechkit.runtime.compiled import compiled_reordering

Times = NDArray[np.int64]
MICROSECONDS = 1_000_000


def in_microseconds(seconds: ArrayLike) -> Times:
    """Seconds as integer microseconds.

    Raises:
        UserError: if a time is not finite.
    """
    values = np.asarray(seconds, np.float64)
    if not np.isfinite(values).all():
        raise UserError("a time is NaN or infinite; fix the segments")
    return np.rint(values * MICROSECONDS).astype(np.int64)


@compiled_reordering
def boundary_hits(reference: Times, predicted: Times, tolerance: int) -> int:
    """Maximum number of one-to-one matches of boundaries within the tolerance; both are sorted.

    Greedy matching that skips the earlier of two boundaries too far apart is optimal for a constant tolerance.
    """
    hits = i = j = 0
    while i < len(reference) and j < len(predicted):
        distance = predicted[j] - reference[i]
        if distance > tolerance:
            i += 1
        elif distance < -tolerance:
            j += 1
        else:
            hits += 1
            i += 1
            j += 1
    return hits


@compiled_reordering
def token_hits(reference: Times, predicted: Times, tolerance: int) -> int:
    """Maximum number of one-to-one matches of segments (n, 2) with both edges within the tolerance.

    Both sides are sorted and disjoint, which makes greedy matching optimal.
    """
    hits = i = 0
    for j in range(len(predicted)):
        while i < len(reference) and (
            reference[i, 0] < predicted[j, 0] - tolerance or reference[i, 1] < predicted[j, 1] - tolerance
        ):
            i += 1
        if i == len(reference):
            break
        if reference[i, 0] <= predicted[j, 0] + tolerance and reference[i, 1] <= predicted[j, 1] + tolerance:
            hits += 1
            i += 1
    return hits


@compiled_reordering
def _overlaps(reference: Times, predicted: Times) -> tuple[Times, NDArray[np.float64]]:
    """Index pairs (k, 2) of overlapping segments, in order, and their intersection over union."""
    pairs = np.empty((len(reference) + len(predicted), 2), np.int64)
    shares = np.empty(len(pairs))
    count = i = j = 0
    while i < len(reference) and j < len(predicted):
        common = min(reference[i, 1], predicted[j, 1]) - max(reference[i, 0], predicted[j, 0])
        if common > 0:
            either = max(reference[i, 1], predicted[j, 1]) - min(reference[i, 0], predicted[j, 0])
            pairs[count, 0], pairs[count, 1] = i, j
            shares[count] = common / either
            count += 1
        if reference[i, 1] < predicted[j, 1]:
            i += 1
        else:
            j += 1
    return pairs[:count], shares[:count]


def overlap_matching(reference: Times, predicted: Times) -> Times:
    """One-to-one index pairs (k, 2) with the largest sum of intersection over union: the Hungarian assignment.

    For sorted, disjoint segments only neighbours in a chain of overlaps conflict, so dynamic programming along the
    chain is exact.
    """
    pairs, shares = _overlaps(reference, predicted)
    # The last earlier pair without a segment in common.
    earlier = np.minimum(np.searchsorted(pairs[:, 0], pairs[:, 0]), np.searchsorted(pairs[:, 1], pairs[:, 1])) - 1
    best = np.zeros(len(pairs) + 1)
    taken = np.zeros(len(pairs), bool)
    for k, share in enumerate(shares):
        with_it = share + best[earlier[k] + 1]
        taken[k] = with_it > best[k]
        best[k + 1] = max(with_it, best[k])
    chosen = []
    k = len(pairs) - 1
    while k >= 0:
        if taken[k]:
            chosen.append(k)
            k = int(earlier[k])
        else:
            k -= 1
    return pairs[np.array(chosen[::-1], np.int64)]


def largest_overlap(reference: Times, predicted: Times) -> Times:
    """Index pairs (k, 2) of each predicted segment and the reference segment with the largest overlap, if any.

    Ties go to the first; several predicted segments may share a reference.
    """
    pairs, _ = _overlaps(reference, predicted)
    begin = np.maximum(reference[pairs[:, 0], 0], predicted[pairs[:, 1], 0])
    common = np.minimum(reference[pairs[:, 0], 1], predicted[pairs[:, 1], 1]) - begin
    order = np.lexsort((pairs[:, 0], -common, pairs[:, 1]))
    _, first = np.unique(pairs[order, 1], return_index=True)
    return pairs[order][first]
