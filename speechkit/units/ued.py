"""Unit edit distance (UED): robustness of units to perturbations that preserve the content.

Edits between the deduplicated units of clean and perturbed audio over the number of clean units, pooled over
utterances, as in a word error rate. Deduplication makes slow and fast speech comparable.

Source: Gat et al. 2023, Augmentation invariant discrete representation for generative spoken language modeling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.metrics.bootstrap import DEFAULT_RESAMPLES, Interval, bootstrap, bootstrap_ratio, ratio, sum_by_group
from speechkit.metrics.error_rates import word_errors
from speechkit.units.deduplication import deduplicate

Units = NDArray[np.integer[Any]]
MIN_SPEAKERS = 10
"""With fewer speakers, intervals are over utterances."""


class UedScore(msgspec.Struct, frozen=True):
    """UED (1.0 is as many edits as clean units; it can be higher) and edit counts.

    ``changed_units`` against ``clean_units`` shows whether perturbations give longer or shorter sequences.
    """

    ued: float
    interval: Interval
    clean_units: int
    changed_units: int
    substitutions: int
    deletions: int
    insertions: int
    utterances: int


class UedReduction(msgspec.Struct, frozen=True):
    """Relative reduction of the UED of the second quantizer over the first: 0.3 is 30 % lower."""

    reduction: float
    interval: Interval


class UedTable(msgspec.Struct, frozen=True):
    """Scores by perturbation; ``overall`` pools the audible perturbations, ``floor`` the inaudible ones."""

    scores: dict[str, UedScore]
    overall: UedScore | None
    floor: UedScore | None
    interval_over: str


class UtteranceEdits(msgspec.Struct, frozen=True):
    """Ids, and counts (N, 5) of clean units, changed units, substitutions, deletions and insertions by utterance."""

    ids: list[str]
    counts: NDArray[np.int64]


def count_edits(clean: Mapping[str, Units], changed: Mapping[str, Units]) -> UtteranceEdits:
    """Edits from the deduplicated units of clean audio to those of perturbed audio, by utterance.

    Raises:
        UserError: if an utterance is on one side only, or there are none.
    """
    if not clean:
        raise UserError("there are no units to compare; give at least one utterance")

    def text(units: Units) -> str:
        return " ".join(map(str, deduplicate(units)[0].tolist()))

    result = word_errors(
        {name: text(units) for name, units in clean.items()}, {name: text(units) for name, units in changed.items()}
    )
    rows = [
        (len(u.reference), len(u.hypothesis), u.counts.substitutions, u.counts.deletions, u.counts.insertions)
        for u in result.utterances
    ]
    return UtteranceEdits([u.id for u in result.utterances], np.array(rows, np.int64).reshape(-1, 5))


def ued_score(
    edits: Sequence[UtteranceEdits],
    speakers: Mapping[str, str] | None = None,
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> UedScore:
    """UED over all utterances of one perturbation, or of several pooled, with its interval.

    Args:
        edits: of the same utterances under each perturbation; resampled together.
        speakers: speaker of each utterance; with at least `MIN_SPEAKERS`, whole speakers are resampled.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    total = _pool(edits)
    clean, changed, substitutions, deletions, insertions = total.counts.sum(0).tolist()
    errors = total.counts[:, 2:].sum(1)
    groups, _ = interval_groups(total.ids, speakers)
    interval = bootstrap_ratio(errors, total.counts[:, 0], groups=groups, resamples=resamples, seed=seed)
    return UedScore(
        ued=float(ratio(errors.sum(), clean)),
        interval=interval,
        clean_units=clean,
        changed_units=changed,
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
        utterances=len(total.ids),
    )


def ued_table(
    clean: Mapping[str, Units],
    changed: Mapping[str, Mapping[str, Units]],
    inaudible: Sequence[str],
    speakers: Mapping[str, str] | None = None,
    seed: int = 0,
) -> UedTable:
    """UED of every perturbation in ``changed``, and pooled over the audible and over the inaudible ones (floor)."""
    edits = {kind: count_edits(clean, units) for kind, units in changed.items()}
    audible_edits = [counts for kind, counts in edits.items() if kind not in inaudible]
    inaudible_edits = [counts for kind, counts in edits.items() if kind in inaudible]
    return UedTable(
        {kind: ued_score([counts], speakers, seed=seed) for kind, counts in edits.items()},
        ued_score(audible_edits, speakers, seed=seed) if audible_edits else None,
        ued_score(inaudible_edits, speakers, seed=seed) if inaudible_edits else None,
        interval_groups(list(clean), speakers)[1],
    )


def ued_reduction(
    first: Sequence[UtteranceEdits],
    second: Sequence[UtteranceEdits],
    speakers: Mapping[str, str] | None = None,
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> UedReduction | None:
    """Relative reduction of the UED of the second quantizer over the first, with a paired bootstrap over utterances.

    Returns:
        The reduction, or None if it is undefined because the first quantizer has no edits in the data or in a draw.

    Raises:
        UserError: if the two were measured on different utterances.
    """
    one, other = _pool(first), _pool(second)
    if one.ids != other.ids:
        raise UserError("the two quantizers were measured on different utterances; measure both on the same")
    table = np.stack([one.counts[:, 2:].sum(1), one.counts[:, 0], other.counts[:, 2:].sum(1), other.counts[:, 0]], 1)
    groups, _ = interval_groups(one.ids, speakers)
    if groups is not None:
        table = sum_by_group(table, groups).astype(np.int64)

    def reduction(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        before, after = ratio(sums[:, 0], sums[:, 1]), ratio(sums[:, 2], sums[:, 3])
        return 1.0 - np.divide(after, before, out=np.full_like(after, np.nan), where=before > 0)

    interval = bootstrap(table, reduction, resamples=resamples, seed=seed)
    value = float(reduction(table.sum(0, keepdims=True).astype(np.float64))[0])
    return UedReduction(value, interval) if np.isfinite([value, interval.low, interval.high]).all() else None


def interval_groups(ids: Sequence[str], speakers: Mapping[str, str] | None) -> tuple[list[str] | None, str]:
    """Speaker of each utterance, None if there are too few, and the name of the resampled unit."""
    if speakers is None or any(name not in speakers for name in ids) or len({speakers[n] for n in ids}) < MIN_SPEAKERS:
        return None, "utterances"
    return [speakers[name] for name in ids], "speakers"


def _pool(edits: Sequence[UtteranceEdits]) -> UtteranceEdits:
    """Sum of the counts over perturbations."""
    if not edits or any(perturbation.ids != edits[0].ids for perturbation in edits):
        raise UserError("perturbations must be measured on the same utterances, and on at least one; measure again")
    return UtteranceEdits(edits[0].ids, np.sum([perturbation.counts for perturbation in edits], axis=0))
