"""Where one window's emissions give way to the next one's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def quiet_cut(before: NDArray[np.float32], after: NDArray[np.float32], nominal: int, reach: int) -> int:
    """Where to change from one window to the next inside their overlap.

    Args:
        before: (N,) blank log-probability of the overlapping frames as the earlier window has them.
        after: (N,) the same frames as the later window has them.
        nominal: the frame to stay near, 0..N.
        reach: how far the cut may move.

    Returns:
        the frame where the later window takes over: the one, nearest to ``nominal``, around which both are surest of
        blank, so that no character is lost or doubled.
    """
    count = len(before)
    if count < 2:
        return min(nominal, count)
    worst = np.minimum(before, after)
    both_sides = np.minimum(worst[:-1], worst[1:])  # a cut at k lies between frames k - 1 and k
    cuts = np.arange(1, count)
    near = np.abs(cuts - nominal) <= reach
    if not near.any():
        return min(nominal, count)
    cuts, both_sides = cuts[near], both_sides[near]
    return int(cuts[np.argmax(both_sides - 1e-4 * np.abs(cuts - nominal))])
