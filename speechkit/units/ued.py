"""Unit edit distance: how much a quantizer's units change when the audio is perturbed but the content is not.

The edits between the deduplicated units of clean and of changed audio, over the number of clean units, all utterances
together: a word error rate over units. Deduplication makes slow and fast speech comparable.

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
"""With fewer speakers than these, intervals are over utterances."""


class UedScore(msgspec.Struct, frozen=True):
    """Edits over clean units (1.0 is as many edits as units; it may be more) with their kinds.

    ``changed_units`` beside ``clean_units`` show whether a change makes a quantizer say more or less.
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
    """Scores by perturbation; ``overall`` takes those together that can be heard, ``floor`` those that cannot."""

    scores: dict[str, UedScore]
    overall: UedScore | None
    floor: UedScore | None
    interval_over: str


class UtteranceEdits(msgspec.Struct, frozen=True):
    """Of each utterance: clean units, changed units, substitutions, deletions, insertions (N, 5), and its id."""

    ids: list[str]
    counts: NDArray[np.int64]


def count_edits(clean: Mapping[str, Units], changed: Mapping[str, Units]) -> UtteranceEdits:
    """Edits from the units of clean audio to those of changed audio, by utterance; runs of a unit count once.

    Raises:
        UserError: if an utterance is on one side only, or there is none.
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
    """The distance over all utterances of one perturbation, or of several together, with its interval.

    Args:
        edits: of the same utterances under each perturbation; an utterance is drawn with all of them.
        speakers: who says an utterance; with `MIN_SPEAKERS` or more, whole speakers are drawn.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    total = _together(edits)
    clean, changed, substitutions, deletions, insertions = total.counts.sum(0).tolist()
    wrong = total.counts[:, 2:].sum(1)
    groups, _ = interval_groups(total.ids, speakers)
    interval = bootstrap_ratio(wrong, total.counts[:, 0], groups=groups, resamples=resamples, seed=seed)
    return UedScore(
        ued=float(ratio(wrong.sum(), clean)),
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
    audible: Sequence[str],
    speakers: Mapping[str, str] | None = None,
    seed: int = 0,
) -> UedTable:
    """UED of every perturbation in ``changed``, and together; those not in ``audible`` make the floor."""
    edits = {kind: count_edits(clean, units) for kind, units in changed.items()}
    heard = [each for kind, each in edits.items() if kind in audible]
    unheard = [each for kind, each in edits.items() if kind not in audible]
    return UedTable(
        {kind: ued_score([each], speakers, seed=seed) for kind, each in edits.items()},
        ued_score(heard, speakers, seed=seed) if heard else None,
        ued_score(unheard, speakers, seed=seed) if unheard else None,
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
        None where the first's units hardly change: in all utterances or in those of a draw there is no edit that could
        become less.

    Raises:
        UserError: if the two are not about the same utterances.
    """
    one, other = _together(first), _together(second)
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
    """The speaker of each utterance where there are enough, and what intervals are over."""
    if speakers is None or any(name not in speakers for name in ids) or len({speakers[n] for n in ids}) < MIN_SPEAKERS:
        return None, "utterances"
    return [speakers[name] for name in ids], "speakers"


def _together(edits: Sequence[UtteranceEdits]) -> UtteranceEdits:
    if not edits or any(each.ids != edits[0].ids for each in edits):
        raise UserError("perturbations must be measured on the same utterances, and on one at least")
    return UtteranceEdits(edits[0].ids, np.sum([each.counts for each in edits], axis=0))
