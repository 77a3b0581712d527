"""Unit bigram: pointwise mutual information of consecutive units, and decoding with it.

In perturbed audio a unit may look like another that would not stand there in speech. A bigram of the units of clean
speech undoes most of these errors without making units longer.

Source: Witten and Bell 1991, The zero-frequency problem, method C, for pairs that were never seen. Bourlard and Morgan
1994, Connectionist speech recognition, chapter 7: posteriors hold the unit's prior already, so it is divided out of the
bigram.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.units.deduplication import deduplicate


def estimate_bigram(items: Iterable[NDArray[np.integer[Any]]], clusters: int) -> Float:
    """Bigram (K, K) of units: row u, column v is log P(v | u) − log P(v), 0 on the diagonal.

    Runs count once. P(v) is normalised over all units except u, and none of them has probability 0. The row of a unit
    that is never followed by another is 0.

    Args:
        items: the units of each recording's frames.
        clusters: K.

    Raises:
        UserError: if a unit is out of range.
    """
    pairs = np.zeros((clusters, clusters), np.float64)
    singles = np.full(clusters, 0.5)
    for units in items:
        runs = deduplicate(units)[0]
        if len(runs) and not 0 <= runs.min() <= runs.max() < clusters:
            raise UserError(f"units lie from {runs.min()} to {runs.max()}; there are {clusters}")
        np.add.at(pairs, (runs[:-1], runs[1:]), 1)
        np.add.at(singles, runs, 1)
    # A unit never follows itself, so the expectation is spread over the others.
    expected = np.tile(singles, (clusters, 1))
    np.fill_diagonal(expected, 0)
    expected /= np.maximum(expected.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    kinds = (pairs > 0).sum(axis=1, keepdims=True)
    seen = pairs.sum(axis=1, keepdims=True)
    information = np.zeros((clusters, clusters), np.float32)
    known = (expected > 0) & (seen > 0)
    ratio = (pairs + kinds * expected) / np.maximum(seen + kinds, 1) / np.where(expected > 0, expected, 1)
    information[known] = np.log(ratio[known])
    return information


def switch_costs(bigram: Float, penalty: float, weight: float) -> Float:
    """Cost in nats of switching from each unit to each (K, K), at least 0: the penalty minus the weighted bigram."""
    costs: Float = np.maximum(np.float32(penalty) - np.float32(weight) * np.asarray(bigram, np.float32), np.float32(0))
    np.fill_diagonal(costs, 0)
    return costs
