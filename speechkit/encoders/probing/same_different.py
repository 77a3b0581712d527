"""Acoustic word embeddings and the same-different task: detection of pairs of tokens of the same word.

Sources: Carlin et al. 2011, Rapid evaluation of speech representations for spoken term discovery; Levin et al. 2013,
Fixed-dimensional acoustic embeddings of variable-length segments in low-resource settings (downsampling).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.metrics.bootstrap import Interval, percentile_interval

Pooling = Literal["mean", "downsampled"]
DOWNSAMPLED_FRAMES = 10


class SameDifferentScore(msgspec.Struct, frozen=True):
    """Average precision over pairs of tokens; ``chance`` is the share of pairs that are the same word."""

    precision: float
    interval: Interval
    chance: float
    same_pairs: int
    different_pairs: int


def embed_segment(segment: NDArray[Any], pooling: Pooling, frames: int = DOWNSAMPLED_FRAMES) -> Float:
    """Unit vector of a segment (n, D): its mean (D,), or ``frames`` equally spaced frames (frames * D,).

    Frame i of the latter is interpolated linearly at (i + 1/2) / frames of the segment.
    """
    values = np.asarray(segment, np.float32)
    if values.ndim != 2 or not len(values):
        raise UserError(f"a segment has shape {values.shape}; give (frames, D) with at least one frame")
    if pooling == "mean":
        vector = values.mean(0)
    else:
        positions = np.clip((np.arange(frames) + 0.5) / frames * len(values) - 0.5, 0, len(values) - 1)
        before = np.floor(positions).astype(np.int64)
        after = np.minimum(before + 1, len(values) - 1)
        share = (positions - before)[:, None].astype(np.float32)
        vector = (values[before] * (1 - share) + values[after] * share).reshape(-1)
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


def average_precision(
    similarities: NDArray[np.floating[Any]], same: NDArray[np.bool_], weights: NDArray[np.floating[Any]] | None = None
) -> float:
    """Area under the precision-recall curve, with ties as one threshold; NaN without a same pair.

    Shapes: similarities, same and weights (pairs,); a weight is the multiplicity of a pair.
    """
    order, last = _ranking(similarities)
    counts = np.ones(len(order)) if weights is None else np.asarray(weights, np.float64)[order]
    return _precision(counts, same[order], last)


def same_different(
    embeddings: Float,
    words: Sequence[Hashable],
    speakers: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 500,
    seed: int = 0,
) -> SameDifferentScore:
    """Average precision of cosine similarity over all pairs of tokens.

    Args:
        embeddings: (K, E) embedding of each token.
        words: (K,) word of each token.
        speakers: (K,) speaker of each token; if given, same pairs of one speaker are left out, so that the score is
            across speakers (SWDP of Carlin et al.).
        confidence: of the interval.
        resamples: bootstrap resamples of tokens; a pair is weighted by the product of its tokens' multiplicities.
        seed: of the bootstrap.

    Raises:
        UserError: if there is no same pair or no different pair.
    """
    count = len(embeddings)
    kind = _numbers(words)
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    first, second = np.triu_indices(count, 1)
    same = kind[first] == kind[second]
    if speakers is not None:
        person = _numbers(speakers)
        kept = ~same | (person[first] != person[second])
        first, second, same = first[kept], second[kept], same[kept]
    if same.all() or not same.any():
        raise UserError(
            f"{count} tokens form {int(same.sum())} same and {int((~same).sum())} different pairs; give more tokens"
        )
    similarities = (unit @ unit.T)[first, second]
    order, last = _ranking(similarities)
    first, second, ordered = first[order], second[order], same[order]
    generator = np.random.default_rng(seed)
    precisions = np.empty(resamples)
    for number in range(resamples):
        multiplicity = generator.multinomial(count, np.full(count, 1 / count))
        weights = (multiplicity[first] * multiplicity[second]).astype(np.float64)
        precisions[number] = _precision(weights, ordered, last)
    usable = precisions[np.isfinite(precisions)]
    if not len(usable):
        raise UserError(f"{count} tokens are too few for an interval; give more tokens")
    return SameDifferentScore(
        _precision(np.ones(len(order)), ordered, last),
        percentile_interval(usable, confidence, count),
        float(same.mean()),
        int(same.sum()),
        int((~same).sum()),
    )


def _ranking(similarities: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs by descending similarity, and the index of the last of each group of ties."""
    order = np.argsort(-similarities, kind="stable")
    ranked = similarities[order]
    return order, np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)


def _precision(counts: NDArray[np.float64], same: NDArray[np.bool_], last: NDArray[np.int64]) -> float:
    hits = np.cumsum(np.where(same, counts, 0.0))[last]
    seen = np.cumsum(counts)[last]
    if not len(hits) or hits[-1] == 0:
        return float("nan")
    gained = np.diff(hits, prepend=0.0)
    return float((gained * hits / np.maximum(seen, 1e-12)).sum() / hits[-1])


def _numbers(labels: Sequence[Hashable]) -> NDArray[np.int64]:
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(label, len(number)) for label in labels], np.int64)
