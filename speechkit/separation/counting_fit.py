"""Fit the counting of speakers on mixtures with known numbers, and judge it on those that were held out. Torch-free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.metrics.calibration import Reliability, reliability
from speechkit.metrics.logistic import LogisticModel, Matrix, fit_logistic
from speechkit.separation.counting import (
    FEATURES,
    SPEECH_FEATURES,
    Counting,
    Evidence,
    activity,
    count_speakers,
    features,
    loudest_first,
    speech_features,
)

LEAKS_DB = (6.0, 9.0, 12.0, 15.0, 18.0, 21.0, 24.0)
RANGES_DB = (20.0, 25.0, 30.0, 35.0, 40.0, 45.0)


@dataclass(frozen=True)
class Example:
    """Tracks whose truth is known: how many people speak, and, where known, in each frame (T,) how many."""

    evidence: Evidence
    speakers: int
    active: NDArray[np.int_] | None = None


def fit_counting(examples: Iterable[Example], provenance: dict[str, str | float] | None = None) -> Counting:
    """Fit counting on tracks of mixtures with known numbers of speakers, of speakers that the separator never saw.

    Mixtures of more speakers than tracks teach ``more``, ones without any teach ``speech``; where there are none, these
    stay unknown. Of ``range_db`` and ``leak_db`` those are taken with which most frames have the right number.

    Raises:
        UserError: if there is no lone speaker among the examples, or nobody beside a lone one.
    """
    items = list(examples)
    rows, right = [], []
    for item in items:
        if item.speakers and len(item.evidence.levels) > 1:
            rows.append(features(item.evidence))
            right += [rank < item.speakers for rank in range(1, len(item.evidence.levels))]
    truth = np.array(right, bool)
    if not truth.any() or truth.all():
        raise UserError("counting needs examples of lone speakers and of several; mix both kinds")
    another = _fit(np.concatenate(rows), truth, FEATURES)
    full = [item for item in items if item.speakers >= len(item.evidence.levels) > 1]
    beyond = np.array([item.speakers > len(item.evidence.levels) for item in full], bool)
    more = None
    if beyond.any() and not beyond.all():
        more = _fit(np.concatenate([features(item.evidence)[-1:] for item in full]), beyond, FEATURES)
    sounding = np.array([item.speakers > 0 for item in items], bool)
    speech = None
    if not sounding.all():
        speech = _fit(np.concatenate([speech_features(item.evidence) for item in items]), sounding, SPEECH_FEATURES)
    counting = Counting(another, more, speech, provenance=provenance or {})
    range_db, leak_db = _fit_activity(items, counting)
    return msgspec.structs.replace(counting, range_db=range_db, leak_db=leak_db)


class CountingScores(msgspec.Struct, frozen=True):
    """How well counting does on examples that it was not fitted on.

    Attributes:
        examples: mixtures with no more speakers than tracks.
        right: share of them whose number was found.
        confusions: ``[speakers, counted, how often]``.
        reliability: of the confidence.
    """

    examples: int
    right: float
    confusions: list[tuple[int, int, int]]
    reliability: Reliability


def judge_counting(examples: Sequence[Example], folds: int = 5) -> CountingScores | None:
    """Fit on all folds but one and count in that, in turn; the examples of a fold are every ``folds``-th.

    None where there are too few for what is left of each fold to teach.
    """
    pairs, sure = [], []
    for fold in range(folds):
        try:
            counting = fit_counting(example for number, example in enumerate(examples) if number % folds != fold)
        except UserError:
            return None
        for example in examples[fold::folds]:
            if example.speakers > len(example.evidence.levels):
                continue
            count = count_speakers(example.evidence, counting)
            pairs.append((example.speakers, count.speakers))
            sure.append(count.confidence if count.confidence is not None else 1.0)
    if not pairs:
        return None
    right = [speakers == counted for speakers, counted in pairs]
    return CountingScores(
        examples=len(pairs),
        right=round(float(np.mean(right)), 4),
        confusions=[(*pair, count) for pair, count in sorted(Counter(pairs).items())],
        reliability=reliability(sure, right, bins=5, binning="mass"),
    )


def _fit_activity(items: Sequence[Example], counting: Counting) -> tuple[float, float]:
    known = [item for item in items if item.active is not None and 0 < item.speakers <= len(item.evidence.levels)]
    best, chosen = -1.0, (counting.range_db, counting.leak_db)
    for range_db in RANGES_DB if known else ():
        for leak_db in LEAKS_DB:
            agreed = total = 0
            for item in known:
                tracks = loudest_first(item.evidence)[: item.speakers]
                counts = activity(item.evidence, tracks, range_db, leak_db).sum(0)
                length = min(len(counts), len(item.active if item.active is not None else ()))
                agreed += int((counts[:length] == item.active[:length]).sum())  # type: ignore[index]
                total += length
            if agreed / max(total, 1) > best:
                best, chosen = agreed / max(total, 1), (range_db, leak_db)
    return chosen


def _fit(rows: Matrix, right: NDArray[np.bool_], names: Sequence[str]) -> LogisticModel:
    """Unknown values are put at the mean of the known, where they say nothing."""
    known = np.isfinite(rows)
    means = np.array([column[mask].mean() if mask.any() else 0.0 for column, mask in zip(rows.T, known.T, strict=True)])
    return fit_logistic(np.where(known, rows, means), right, names)
