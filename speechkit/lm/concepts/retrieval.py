"""Retrieval evaluation of predicted segments against other segments of the same speaker.

Protocol: each concept of a document but the first is predicted from the true concepts before it. Negatives are drawn
from the other test segments of the same speaker, so that speaker identity does not help, and without the target's two
neighbours, so that the baseline that copies the last segment is not compared with its own prediction. All systems get
the same negatives. Torch-free.

Notation used for tensor shapes: T positions, D width, N negatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.metrics.bootstrap import Interval, bootstrap_ratio
from speechkit.runtime import item_seed

ConceptPredictor = Callable[[Float, str], Float]
"""Concepts (T, D) and name of a document to the predicted concepts (T, D)."""


@dataclass(frozen=True)
class TestDocument:
    """A test document: name, speaker and concepts (T, D)."""

    __test__ = False
    name: str
    speaker: str
    concepts: Float


@dataclass(frozen=True)
class Target:
    """One concept to be predicted.

    Attributes:
        document: index of its document.
        position: in the document, from 1.
        negatives: (N,) indices of the drawn negatives among the concepts of all documents.
        of_document: (M,) indices of all possible negatives of its own document.
    """

    document: int
    position: int
    negatives: NDArray[np.int64]
    of_document: NDArray[np.int64]


class TargetScores(msgspec.Struct, frozen=True):
    """Scores of one system on each target, in order; see `ConceptScore`."""

    speakers: list[str]
    farther: list[float]
    farther_document: list[float | None]
    aligned: list[float]
    first: list[float]
    reciprocal_rank: list[float]
    distance: list[float]
    context_cosine: list[float]
    true_context_cosine: list[float]


class ConceptScore(msgspec.Struct, frozen=True):
    """Prediction scores of a system.

    Attributes:
        system: name of the system.
        targets: number of predicted concepts.
        contrastive_accuracy: share of negatives farther from the prediction than the true concept is (CA); a tie
            counts half, chance is .5.
        contrastive_interval: over speakers.
        document_accuracy: as direction_accuracy, with negatives of the same document; None where there are none.
        document_interval: over speakers.
        direction_accuracy: share of negatives whose cosine with the prediction is below the true concept's. CA also
            depends on the norm: for a mean prediction, which is short, it mostly ranks concepts by their norm.
        direction_interval: over speakers.
        first: share of targets whose cosine is larger than those of all their negatives.
        first_interval: over speakers.
        reciprocal_rank: mean reciprocal rank among the negatives, by cosine.
        reciprocal_interval: over speakers.
        distance: mean Euclidean distance between prediction and true concept (l2).
        copying: largest cosine of the prediction with an earlier concept, over that of the true concept (PAR), as a
            ratio of sums; above 1, predictions resemble the past more than the truth does. None where the latter is
            not positive.
        parameters: number of trained parameters.
    """

    system: str
    targets: int
    contrastive_accuracy: float
    contrastive_interval: Interval
    document_accuracy: float | None
    document_interval: Interval | None
    direction_accuracy: float
    direction_interval: Interval
    first: float
    first_interval: Interval
    reciprocal_rank: float
    reciprocal_interval: Interval
    distance: float
    copying: float | None
    parameters: int


class Chance(msgspec.Struct, frozen=True):
    """Chance level of the scores of `ConceptScore`."""

    first: float
    reciprocal_rank: float
    negatives: float
    """Mean number of negatives of a target."""


def draw_targets(documents: Sequence[TestDocument], max_negatives: int, seed: int) -> list[Target]:
    """All concepts but the first of each document that have a negative, with at most ``max_negatives`` drawn each.

    Raises:
        UserError: if no concept has a negative.
    """
    begins = np.cumsum([0, *(len(document.concepts) for document in documents)])
    of_speaker: dict[str, list[int]] = {}
    for number, document in enumerate(documents):
        of_speaker.setdefault(document.speaker, []).extend(range(begins[number], begins[number + 1]))
    targets = []
    for number, document in enumerate(documents):
        candidates = np.array(of_speaker[document.speaker], np.int64)
        in_document = (candidates >= begins[number]) & (candidates < begins[number + 1])
        for position in range(1, len(document.concepts)):
            near = (np.abs(candidates - (begins[number] + position)) <= 1) & in_document
            possible = candidates[~near]
            if not len(possible):
                continue
            generator = np.random.default_rng(item_seed(seed, f"{document.speaker}/{document.name}/{position}"))
            negatives = np.sort(generator.permutation(possible)[:max_negatives])
            targets.append(Target(number, position, negatives, candidates[in_document & ~near]))
    if not targets:
        raise UserError(
            "no test segment has another segment of its speaker as a negative; give longer test recordings, or cut at "
            "shorter pauses (segments.min_silence_seconds)"
        )
    return targets


def score_targets(
    documents: Sequence[TestDocument], targets: Sequence[Target], predictor: ConceptPredictor
) -> TargetScores:
    """Scores of a system on each target."""
    pool = np.concatenate([document.concepts for document in documents]).astype(np.float64)
    indices = sorted({target.document for target in targets})
    predictions = {index: predictor(documents[index].concepts, documents[index].name) for index in indices}
    rows: dict[str, list[float]] = {name: [] for name in ("farther", "aligned", "first", "reciprocal_rank", "distance")}
    within: list[float | None] = []
    cosines: list[float] = []
    true_cosines: list[float] = []
    for target in targets:
        concepts = documents[target.document].concepts.astype(np.float64)
        predicted = predictions[target.document][target.position].astype(np.float64)
        distance = float(np.linalg.norm(predicted - concepts[target.position]))
        others = np.linalg.norm(pool[target.negatives] - predicted, axis=1)
        rows["farther"].append(_above(others, distance))
        cosine, *negatives = _cosines(
            predicted, np.concatenate([concepts[target.position][None], pool[target.negatives]])
        ).tolist()
        rank = 1 + sum(value > cosine for value in negatives) + sum(value == cosine for value in negatives) / 2
        rows["aligned"].append(_above(-np.array(negatives), -cosine))
        rows["first"].append(float(rank == 1))
        rows["reciprocal_rank"].append(1 / rank)
        rows["distance"].append(distance)
        own = _cosines(predicted, pool[target.of_document])
        within.append(_above(-own, -cosine) if len(own) else None)
        before = concepts[: target.position]
        cosines.append(float(_cosines(predicted, before).max()))
        true_cosines.append(float(_cosines(concepts[target.position], before).max()))
    return TargetScores(
        speakers=[documents[target.document].speaker for target in targets],
        farther_document=within,
        context_cosine=cosines,
        true_context_cosine=true_cosines,
        **rows,
    )


def _above(others: NDArray[np.float64], value: float) -> float:
    """Share of numbers above a value, ties counted half."""
    return float((others > value).mean() + (others == value).mean() / 2)


def _cosines(vector: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines of a vector with others (N, D), 0 with a zero vector; equal others get exactly equal cosines."""
    norms = np.linalg.norm(others, axis=1) * np.linalg.norm(vector)
    cosines: NDArray[np.float64] = (others * vector).sum(1) / np.where(norms > 0, norms, 1.0)
    return cosines


def summarize(system: str, scores: TargetScores, parameters: int = 0) -> ConceptScore:
    """Means over targets, with intervals over speakers."""
    ones = np.ones(len(scores.farther))

    def mean(values: Sequence[float]) -> tuple[float, Interval]:
        return float(np.mean(values)), bootstrap_ratio(values, ones, groups=scores.speakers)

    accuracy, direction = mean(scores.farther), mean(scores.aligned)
    first, rank = mean(scores.first), mean(scores.reciprocal_rank)
    within = [
        (value, name) for value, name in zip(scores.farther_document, scores.speakers, strict=True) if value is not None
    ]
    inside: tuple[float | None, Interval | None] = (None, None)
    if within:
        values = [value for value, _ in within]
        groups = [name for _, name in within]
        inside = float(np.mean(values)), bootstrap_ratio(values, np.ones(len(values)), groups=groups)
    true = float(np.sum(scores.true_context_cosine))
    return ConceptScore(
        system=system,
        targets=len(ones),
        contrastive_accuracy=accuracy[0],
        contrastive_interval=accuracy[1],
        document_accuracy=inside[0],
        document_interval=inside[1],
        direction_accuracy=direction[0],
        direction_interval=direction[1],
        first=first[0],
        first_interval=first[1],
        reciprocal_rank=rank[0],
        reciprocal_interval=rank[1],
        distance=float(np.mean(scores.distance)),
        copying=float(np.sum(scores.context_cosine)) / true if true > 0 else None,
        parameters=parameters,
    )


def gain(scores: TargetScores, baseline: TargetScores) -> tuple[float, Interval]:
    """Paired difference in direction accuracy over a baseline, with an interval over speakers."""
    if len(scores.aligned) != len(baseline.aligned) or scores.speakers != baseline.speakers:
        raise ValueError("the two systems were scored on different targets")
    differences = np.array(scores.aligned) - np.array(baseline.aligned)
    return float(differences.mean()), bootstrap_ratio(differences, np.ones(len(differences)), groups=scores.speakers)


def chance(targets: Sequence[Target]) -> Chance:
    """Expected scores of a random ranking: 1 / n for the first of n, and the mean reciprocal rank."""
    counts = np.array([len(target.negatives) + 1 for target in targets])
    harmonic = np.cumsum(1 / np.arange(1, counts.max() + 1))
    return Chance(float((1 / counts).mean()), float((harmonic[counts - 1] / counts).mean()), float(counts.mean() - 1))
