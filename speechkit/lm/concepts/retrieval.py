"""Retrieval evaluation of predicted segments against other segments of the same speaker.

Protocol: every place behind the first of a document is foreseen from the true concepts before it. Negatives are drawn
from the other test segments of the same speaker, without the target's two neighbours: what tells speakers apart helps
nobody, and copying the last segment is not handed its own copy. Every system has the same negatives. Torch-free.

Notation used for tensor shapes: T places, D width, N negatives.
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

Denoiser = Callable[[Float, str], Float]
"""Concepts of a document (T, D) and its name to what each place is foreseen to be (T, D)."""


@dataclass(frozen=True)
class TestDocument:
    """Concepts of a document to judge by: its name, its speaker, (T, D)."""

    __test__ = False
    name: str
    speaker: str
    concepts: Float


@dataclass(frozen=True)
class Target:
    """One place to be foreseen.

    Attributes:
        document: its number.
        place: in it, from 1.
        negatives: (N,) numbers of concepts of all documents, drawn.
        of_document: (M,) those of its own document that may be drawn, all of them.
    """

    document: int
    place: int
    negatives: NDArray[np.int64]
    of_document: NDArray[np.int64]


class Scores(msgspec.Struct, frozen=True):
    """What each target gives, in order; see `ConceptScore`."""

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
        system: its name.
        targets: places that were foreseen.
        contrastive_accuracy: share of negatives that are farther from the foreseen concept than the true one (CA); a
            tie counts half, chance is .5.
        contrastive_interval: over speakers.
        document_accuracy: as direction_accuracy, with negatives of the same document; None where none has any.
        document_interval: over speakers.
        direction_accuracy: share of negatives whose cosine with the foreseen concept is less than the true one's. CA
            asks for the length too: of a foreseen mean, which is short, it says mostly which concepts are long.
        direction_interval: over speakers.
        first: share of targets whose cosine is larger than those of all their negatives.
        first_interval: over speakers.
        reciprocal_rank: mean of 1 / rank among the negatives, by cosine.
        reciprocal_interval: over speakers.
        distance: mean Euclidean distance of foreseen and true concept (l2).
        copying: largest cosine of the foreseen concept with one before it, over that of the true one (PAR), a ratio of
            sums; above 1: it resembles what was said more than what was said next did. None where that is not positive.
        parameters: that were learnt.
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
    """Mean of a target."""


def draw_targets(documents: Sequence[TestDocument], most: int, seed: int) -> list[Target]:
    """All places behind the first of each document that have a negative, with at most so many drawn.

    Raises:
        UserError: if there is none.
    """
    begins = np.cumsum([0, *(len(each.concepts) for each in documents)])
    of_speaker: dict[str, list[int]] = {}
    for number, each in enumerate(documents):
        of_speaker.setdefault(each.speaker, []).extend(range(begins[number], begins[number + 1]))
    found = []
    for number, each in enumerate(documents):
        theirs = np.array(of_speaker[each.speaker], np.int64)
        for place in range(1, len(each.concepts)):
            here = begins[number] + place
            near = (np.abs(theirs - here) <= 1) & (theirs >= begins[number]) & (theirs < begins[number + 1])
            possible = theirs[~near]
            if not len(possible):
                continue
            generator = np.random.default_rng(item_seed(seed, f"{each.speaker}/{each.name}/{place}"))
            drawn = np.sort(generator.permutation(possible)[:most])
            own = possible[(possible >= begins[number]) & (possible < begins[number + 1])]
            found.append(Target(number, place, drawn, own))
    if not found:
        raise UserError(
            "no test speaker has a segment to tell the next one from; give longer test recordings, or cut at shorter "
            "pauses (segments.min_silence_seconds)"
        )
    return found


def score_targets(documents: Sequence[TestDocument], targets: Sequence[Target], foresee: Denoiser) -> Scores:
    """What each target gives by a system."""
    every = np.concatenate([each.concepts for each in documents]).astype(np.float64)
    foreseen = {number: foresee(documents[number].concepts, documents[number].name) for number in _numbers(targets)}
    rows: dict[str, list[float]] = {name: [] for name in ("farther", "aligned", "first", "reciprocal_rank", "distance")}
    within: list[float | None] = []
    cosines: list[float] = []
    true_cosines: list[float] = []
    for target in targets:
        concepts = documents[target.document].concepts.astype(np.float64)
        guess = foreseen[target.document][target.place].astype(np.float64)
        distance = float(np.linalg.norm(guess - concepts[target.place]))
        others = np.linalg.norm(every[target.negatives] - guess, axis=1)
        rows["farther"].append(_above(others, distance))
        cosine, *less = _cosines(
            guess, np.concatenate([concepts[target.place][None], every[target.negatives]])
        ).tolist()
        rank = 1 + sum(each > cosine for each in less) + sum(each == cosine for each in less) / 2
        rows["aligned"].append(_above(-np.array(less), -cosine))
        rows["first"].append(float(rank == 1))
        rows["reciprocal_rank"].append(1 / rank)
        rows["distance"].append(distance)
        own = _cosines(guess, every[target.of_document])
        within.append(_above(-own, -cosine) if len(own) else None)
        before = concepts[: target.place]
        cosines.append(float(_cosines(guess, before).max()))
        true_cosines.append(float(_cosines(concepts[target.place], before).max()))
    return Scores(
        speakers=[documents[target.document].speaker for target in targets],
        farther_document=within,
        context_cosine=cosines,
        true_context_cosine=true_cosines,
        **rows,
    )


def _numbers(targets: Sequence[Target]) -> list[int]:
    return sorted({target.document for target in targets})


def _above(others: NDArray[np.float64], value: float) -> float:
    """The share of numbers above a value, ties counted half."""
    return float((others > value).mean() + (others == value).mean() / 2)


def _cosines(vector: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a vector with others (N, D); 0 with a vector of zeros, which points nowhere. Equal others have equal ones."""
    norms = np.linalg.norm(others, axis=1) * np.linalg.norm(vector)
    cosines: NDArray[np.float64] = (others * vector).sum(1) / np.where(norms > 0, norms, 1.0)
    return cosines


def summarize(system: str, scores: Scores, parameters: int = 0) -> ConceptScore:
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


def gain(ours: Scores, theirs: Scores) -> tuple[float, Interval]:
    """How much higher our direction accuracy is on the same targets, paired, with an interval over speakers."""
    if len(ours.aligned) != len(theirs.aligned) or ours.speakers != theirs.speakers:
        raise ValueError("the scores are of other targets")
    differences = np.array(ours.aligned) - np.array(theirs.aligned)
    return float(differences.mean()), bootstrap_ratio(differences, np.ones(len(differences)), groups=ours.speakers)


def chance(targets: Sequence[Target]) -> Chance:
    """What drawing by lot gives: 1 / n for the first of n, and the mean of 1 / rank."""
    counts = np.array([len(target.negatives) + 1 for target in targets])
    harmonic = np.cumsum(1 / np.arange(1, counts.max() + 1))
    return Chance(float((1 / counts).mean()), float((harmonic[counts - 1] / counts).mean()), float(counts.mean() - 1))
