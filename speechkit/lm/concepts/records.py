"""Report records of the recipe `concept_lm`. Torch-free."""

from __future__ import annotations

import msgspec

from speechkit.lm.concepts.retrieval import Chance, ConceptScore
from speechkit.metrics.bootstrap import Interval

PROTOCOL = (
    "Every segment behind the first of a document is foreseen from the true ones before it, by one draw where a model "
    "draws. Negatives are drawn from the other test segments of the same speaker, without the target's two neighbours, "
    "the same for every system; all is measured in the space of concepts (without the speaker directions of training, "
    "each dimension divided by its robust deviation). CA: share of negatives that are farther from the foreseen "
    "concept than the true one, by Euclidean distance. Direction: share whose cosine with it is less. In the document: "
    "direction, with negatives of the same document alone. First, 1 / rank: of the true one among the negatives, by "
    "cosine. PAR: largest cosine with what was said before, over that of the true one, ratio of sums. Intervals: "
    "95 %, bootstrap over speakers."
)


class Fit(msgspec.Struct, frozen=True):
    """What was learnt from and judged by.

    Attributes:
        segments: of each part.
        documents: of each part.
        speakers: of each part.
        segment_seconds: mean of the test.
        speaker_share_before: of the variance of test vectors, how much lies between speakers (0 to 1).
        speaker_share_after: the same in the space of concepts.
    """

    segments: dict[str, int]
    documents: dict[str, int]
    speakers: dict[str, int]
    segment_seconds: float
    speaker_share_before: float
    speaker_share_after: float


class Gain(msgspec.Struct, frozen=True):
    """How much higher a model's direction accuracy is than the best baseline's, paired."""

    share: float
    interval: Interval


class ConceptReport(msgspec.Struct, frozen=True):
    """Results of the recipe.

    Attributes:
        systems: baselines, then models.
        best_baseline: by direction accuracy.
        gains: of each model over it.
        chance: what drawing by lot gives; accuracies: .5.
        fit: the data.
        encoder: whose frames.
        protocol: how it was measured.
    """

    systems: list[ConceptScore]
    best_baseline: str
    gains: dict[str, Gain]
    chance: Chance
    fit: Fit
    encoder: str
    protocol: str = PROTOCOL
