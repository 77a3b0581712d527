"""Report records of the recipe `concept_lm`. Torch-free."""

from __future__ import annotations

import msgspec

from speechkit.lm.concepts.retrieval import Chance, ConceptScore
from speechkit.metrics.bootstrap import Interval

PROTOCOL = (
    "Each segment of a document but the first is predicted from the true ones before it, by a single sample where a "
    "model samples. Negatives are drawn from the other test segments of the same speaker, without the target's two "
    "neighbours, the same for every system. Distances are in concept space (training speakers' directions removed, "
    "each dimension divided by its robust deviation). CA: share of negatives farther from the prediction than the true "
    "concept, by Euclidean distance. Direction: share whose cosine with it is less. In the document: direction, with "
    "negatives of the same document only. First, 1 / rank: of the true concept among the negatives, by cosine. PAR: "
    "largest cosine of the prediction with an earlier concept, over that of the true concept, as a ratio of sums. "
    "Intervals: 95 %, bootstrap over speakers."
)


class Fit(msgspec.Struct, frozen=True):
    """Sizes of the data, and the speaker variance removed.

    Attributes:
        segments: number in each part.
        documents: number in each part.
        speakers: number in each part.
        segment_seconds: mean duration of test segments.
        speaker_share_before: share of the variance of test vectors that lies between speakers, 0 to 1.
        speaker_share_after: the same in concept space.
    """

    segments: dict[str, int]
    documents: dict[str, int]
    speakers: dict[str, int]
    segment_seconds: float
    speaker_share_before: float
    speaker_share_after: float


class Gain(msgspec.Struct, frozen=True):
    """Paired difference in direction accuracy between a model and the best baseline."""

    share: float
    interval: Interval


class ConceptReport(msgspec.Struct, frozen=True):
    """Results of the recipe.

    Attributes:
        systems: baselines, then models.
        best_baseline: by direction accuracy.
        gains: of each model over the best baseline.
        chance: expected scores of a random ranking; accuracies are .5.
        fit: sizes of the data.
        encoder: encoder of the segment vectors.
        protocol: description of the evaluation.
    """

    systems: list[ConceptScore]
    best_baseline: str
    gains: dict[str, Gain]
    chance: Chance
    fit: Fit
    encoder: str
    protocol: str = PROTOCOL
