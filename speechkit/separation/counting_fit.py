"""Fit speaker counting on mixtures with known numbers of speakers, and evaluate it on held-out ones. Torch-free."""

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
    """Tracks with the true number of speakers and, if known, the number of active speakers per frame (T,)."""

    evidence: Evidence
    speakers: int
    active: NDArray[np.int_] | None = None


def fit_counting(examples: Iterable[Example], provenance: dict[str, str | float] | None = None) -> Counting:
    """Fit counting on tracks of mixtures with known numbers of speakers, unseen in training of the separator.

    ``more`` is fitted if there are mixtures of more speakers than tracks, ``speech`` if there are mixtures without any.
    ``range_db`` and ``leak_db`` are chosen by the share of frames with the right number of speakers.

    Raises:
        UserError: if the examples have no single speakers, or no several speakers.
    """
    items = list(examples)
    rows, present = [], []
    for item in items:
        if item.speakers and len(item.evidence.levels) > 1:
            rows.append(features(item.evidence))
            present += [rank < item.speakers for rank in range(1, len(item.evidence.levels))]
    truth = np.array(present, bool)
    if not truth.any() or truth.all():
        raise UserError("counting needs examples of lone speakers and of several; mix both kinds")
    another = _fit(np.concatenate(rows), truth, FEATURES)
    full = [item for item in items if item.speakers >= len(item.evidence.levels) > 1]
    beyond = np.array([item.speakers > len(item.evidence.levels) for item in full], bool)
    more = None
    if beyond.any() and not beyond.all():
        more = _fit(np.concatenate([features(item.evidence)[-1:] for item in full]), beyond, FEATURES)
    has_speech = np.array([item.speakers > 0 for item in items], bool)
    speech = None
    if not has_speech.all():
        speech = _fit(np.concatenate([speech_features(item.evidence) for item in items]), has_speech, SPEECH_FEATURES)
    counting = Counting(another, more, speech, provenance=provenance or {})
    range_db, leak_db = _fit_activity(items, counting)
    return msgspec.structs.replace(counting, range_db=range_db, leak_db=leak_db)


class CountingScores(msgspec.Struct, frozen=True):
    """Accuracy of speaker counting on held-out examples.

    Attributes:
        examples: number of mixtures with no more speakers than tracks.
        right: share of them that are counted correctly.
        confusions: ``[speakers, counted, mixtures]``.
        reliability: calibration of the confidence.
    """

    examples: int
    right: float
    confusions: list[tuple[int, int, int]]
    reliability: Reliability


def judge_counting(examples: Sequence[Example], folds: int = 5) -> CountingScores | None:
    """Cross-validate the fit; a fold holds every ``folds``-th example.

    None if there are too few examples to fit on.
    """
    pairs, confidences = [], []
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
            confidences.append(count.confidence if count.confidence is not None else 1.0)
    if not pairs:
        return None
    right = [speakers == counted for speakers, counted in pairs]
    return CountingScores(
        examples=len(pairs),
        right=round(float(np.mean(right)), 4),
        confusions=[(*pair, count) for pair, count in sorted(Counter(pairs).items())],
        reliability=reliability(confidences, right, bins=5, binning="mass"),
    )


def _fit_activity(items: Sequence[Example], counting: Counting) -> tuple[float, float]:
    known = [item for item in items if item.active is not None and 0 < item.speakers <= len(item.evidence.levels)]
    best, chosen = -1.0, (counting.range_db, counting.leak_db)
    for range_db in RANGES_DB if known else ():
        for leak_db in LEAKS_DB:
            correct = total = 0
            for item in known:
                tracks = loudest_first(item.evidence)[: item.speakers]
                counts = activity(item.evidence, tracks, range_db, leak_db).sum(0)
                length = min(len(counts), len(item.active if item.active is not None else ()))
                correct += int((counts[:length] == item.active[:length]).sum())  # type: ignore[index]
                total += length
            if correct / max(total, 1) > best:
                best, chosen = correct / max(total, 1), (range_db, leak_db)
    return chosen


def _fit(rows: Matrix, right: NDArray[np.bool_], names: Sequence[str]) -> LogisticModel:
    """Fit with unknown values replaced by the feature's mean, which makes them neutral."""
    known = np.isfinite(rows)
    means = np.array([column[mask].mean() if mask.any() else 0.0 for column, mask in zip(rows.T, known.T, strict=True)])
    return fit_logistic(np.where(known, rows, means), right, names)
