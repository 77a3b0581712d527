"""Count-based duration model, the baseline of the duration head. Torch-free.

A unit's duration counts are interpolated with those of all units by Witten-Bell smoothing (1991); durations of K frames
and more share one probability, split by a geometric distribution, so that every duration has a probability.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from speechkit.units.sequences import UnitSequence

BINS = 32


class DurationTable:
    """Counts of the durations of each unit.

    Args:
        rows: training sequences.
        units: number of units.
        bins: K, number of bins.
    """

    def __init__(self, rows: Iterable[UnitSequence], units: int, bins: int = BINS):
        counts = np.zeros((units, bins))
        excess = long = 0
        for row in rows:
            durations = np.asarray(row.durations)
            np.add.at(counts, (np.asarray(row.units), np.minimum(durations, bins) - 1), 1)
            excess += int(np.maximum(durations - bins, 0).sum())
            long += int((durations >= bins).sum())
        overall = (counts.sum(0) + 1) / (counts.sum() + bins)
        distinct = np.maximum((counts > 0).sum(1, keepdims=True), 1)
        self._logp = np.log((counts + distinct * overall) / (counts.sum(1, keepdims=True) + distinct))
        self._bins = bins
        self._longer = (excess + 1) / (excess + long + 2)

    def nats(self, units: Sequence[int], durations: Sequence[int]) -> float:
        """Negative log-likelihood in nats of the durations of a unit sequence."""
        frames = np.asarray(durations)
        tail = np.maximum(frames - self._bins, 0) * np.log(self._longer) + np.log1p(-self._longer)
        logp = self._logp[np.asarray(units, np.int64), np.minimum(frames, self._bins) - 1]
        return float(-logp.sum() - tail[frames >= self._bins].sum())
