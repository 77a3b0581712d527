"""How long units last by counting: what a head of durations must beat. Torch-free.

A unit's durations are mixed with those of all units, as Witten and Bell (1991) mix an n-gram with a shorter one; K
frames and more share one probability by a geometric law, so that every duration has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from speechkit.units.sequences import UnitSequence

BINS = 32


class DurationTable:
    """Counts of the durations of each unit.

    Args:
        rows: of training.
        units: how many there are.
        bins: K.
    """

    def __init__(self, rows: Iterable[UnitSequence], units: int, bins: int = BINS):
        counts = np.zeros((units, bins))
        excess = long = 0
        for row in rows:
            durations = np.asarray(row.durations)
            np.add.at(counts, (np.asarray(row.units), np.minimum(durations, bins) - 1), 1)
            excess += int(np.maximum(durations - bins, 0).sum())
            long += int((durations >= bins).sum())
        together = (counts.sum(0) + 1) / (counts.sum() + bins)
        kinds = (counts > 0).sum(1, keepdims=True)
        self._logp = np.log(
            (counts + np.maximum(kinds, 1) * together) / (counts.sum(1, keepdims=True) + np.maximum(kinds, 1))
        )
        self._bins = bins
        self._longer = (excess + 1) / (excess + long + 2)

    def nats(self, units: Sequence[int], durations: Sequence[int]) -> float:
        """What the durations of some units cost."""
        lasting = np.asarray(durations)
        tail = np.maximum(lasting - self._bins, 0) * np.log(self._longer) + np.log1p(-self._longer)
        known = self._logp[np.asarray(units, np.int64), np.minimum(lasting, self._bins) - 1]
        return float(-known.sum() - tail[lasting >= self._bins].sum())
