"""Segmenter thresholds, estimated from data and stored with the identity of their encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.io.atomic import write_json
from speechkit.syllables.dynamic import penalty_for_rate
from speechkit.syllables.greedy import GreedySegmenter
from speechkit.syllables.segments import HOP_SECONDS, checked_features, frame_norms

# At this distance receptive fields overlap: frames differ mainly across boundaries, more distant frames everywhere.
NEIGHBOUR_FRAMES = 2
SAMPLED_FRAMES = 60_000
BISECTIONS = 14
BINS = 4096
MAX_STEPS = 2000
FEWEST_VALUES = 10


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Speech and merge thresholds for the frames of one encoder.

    Attributes:
        encoder: encoder of the frames; thresholds do not transfer to another.
        norm: minimum L2 norm of a frame of speech.
        merge: minimum cosine of a frame to the mean of its segment, -1 to 1.
        penalty: cost per segment of `DynamicSegmenter`, in units of squared norm; None if not estimated.
        norm_separation: separation of the norms of speech and silence (Ashman's D); below 2 they overlap.
        merge_separation: separation of the cosines within segments and at boundaries.
        origin: mean frame of silence, subtracted from every frame (`centred`) to make norms the distance from silence;
            None for an encoder that maps silence to zero, such as Sylber's.
        frames: number of frames of the estimate.
    """

    encoder: EncoderSpec
    norm: float
    merge: float
    penalty: float | None = None
    norm_separation: float | None = None
    merge_separation: float | None = None
    origin: list[float] | None = None
    frames: int = 0

    def __post_init__(self) -> None:
        if self.origin is not None and len(self.origin) != self.encoder.dim:
            raise ValueError(f"origin has {len(self.origin)} values, frames have {self.encoder.dim}")

    def centred(self, features: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Frames (T, D) minus the ``origin``, the input of segmenters with these thresholds."""
        if self.origin is None:
            return features
        return np.asarray(features, np.float32) - np.asarray(self.origin, np.float32)

    def greedy(self, **settings: Any) -> GreedySegmenter:
        """A greedy segmenter with these thresholds."""
        return GreedySegmenter(self.norm, self.merge, **settings)

    def save(self, path: str | Path) -> None:
        """Write JSON."""
        write_json(path, self)

    @classmethod
    def load(cls, path: str | Path, encoder: EncoderSpec | None = None) -> Thresholds:
        """Read what `save` wrote, for features of ``encoder``.

        Raises:
            UserError: if the file is missing or invalid, or belongs to another encoder.
        """
        try:
            thresholds = msgspec.json.decode(Path(path).read_bytes(), type=cls)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror}); write it with speechkit syllables thresholds"
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UserError(f"{path}: not a thresholds file ({error}); write it again") from error
        if encoder is not None:
            thresholds.encoder.require(encoder, f"the thresholds {path}")
        return thresholds


def estimate_thresholds(
    features: Sequence[NDArray[np.floating[Any]]],
    encoder: EncoderSpec,
    *,
    loudness: Sequence[NDArray[np.float64]] | None = None,
    rate: float | None = None,
) -> Thresholds:
    """Unsupervised thresholds from two-Gaussian mixtures of frame norms and of cosines between neighbouring frames.

    Speech has the higher norms, boundaries the lower cosines; each threshold is the point of equal likelihood. Where
    the two kinds of cosines overlap, as for encoders not trained for syllables, give a ``rate`` instead.

    Args:
        features: (T, D) of each recording, with speech and pauses; minutes are enough, and at most about 20 minutes are
            used for the rate.
        encoder: encoder of the frames.
        loudness: (T,) in decibels of each recording; the mean of frames below the mean level of silence becomes the
            ``origin``. Without it there is no origin, which suits only encoders that map silence near zero.
        rate: target of segments per second of speech, for ``merge`` and ``penalty``; it may not be reached exactly,
            since pauses are boundaries too. Without it, ``merge`` is the point of equal likelihood of the cosines, and
            ``penalty`` gives the same number of segments.

    Raises:
        UserError: if there is too little speech, or all frames are equal.
    """
    tables = [checked_features(table) for table in features if len(table)]
    if any(table.shape[1] != encoder.dim for table in tables):
        raise UserError(f"frames do not have the width {encoder.dim} of the encoder; use frames of this encoder")
    origin = None if loudness is None else _silence(tables, [levels for levels in loudness if len(levels)])
    if origin is not None:
        tables = [np.asarray(table, np.float32) - origin for table in tables]
    norms = [frame_norms(table) for table in tables]
    norm_mixture = fit_two_gaussians(np.concatenate([*norms, np.zeros(0)]), "norms of frames")
    norm = norm_mixture.crossing
    cosines = [_neighbour_cosines(table, lengths, norm) for table, lengths in zip(tables, norms, strict=True)]
    cosine_mixture = fit_two_gaussians(np.concatenate(cosines), "cosines of neighbouring frames of speech")
    sample = _sample(tables)
    speech_seconds = sum(int((frame_norms(table) >= norm).sum()) for table in sample) * HOP_SECONDS

    def greedy_rate(merge: float) -> float:
        segmenter = GreedySegmenter(norm, merge)
        return sum(len(segmenter.segment(table)) for table in sample) / max(speech_seconds, HOP_SECONDS)

    merge = min(max(cosine_mixture.crossing, -1.0), 1.0) if rate is None else _merge_for_rate(greedy_rate, rate)
    penalty = penalty_for_rate(sample, greedy_rate(merge) if rate is None else rate, norm=norm)
    return Thresholds(
        encoder=encoder,
        norm=norm,
        merge=merge,
        penalty=penalty,
        norm_separation=norm_mixture.separation,
        merge_separation=cosine_mixture.separation,
        origin=None if origin is None else origin.tolist(),
        frames=sum(map(len, tables)),
    )


def _silence(tables: list[NDArray[np.floating[Any]]], loudness: list[NDArray[np.float64]]) -> Float:
    """Mean of the frames below the mean level of silence."""
    if [len(table) for table in tables] != [len(levels) for levels in loudness]:
        raise UserError("the numbers of frames and of levels differ; give one level per frame")
    levels = np.concatenate([*loudness, np.zeros(0)])
    quiet = fit_two_gaussians(levels, "levels of frames").means[0]
    total, count = np.zeros(tables[0].shape[1]), 0
    for table, table_levels in zip(tables, loudness, strict=True):
        chosen = np.asarray(table, np.float64)[table_levels <= quiet]
        total += chosen.sum(axis=0)
        count += len(chosen)
    return (total / count).astype(np.float32)


def _neighbour_cosines(
    table: NDArray[np.floating[Any]], norms: NDArray[np.float64], norm: float
) -> NDArray[np.float64]:
    frames = np.asarray(table, np.float32)
    earlier, later = frames[:-NEIGHBOUR_FRAMES], frames[NEIGHBOUR_FRAMES:]
    lengths = norms[:-NEIGHBOUR_FRAMES], norms[NEIGHBOUR_FRAMES:]
    speech = (lengths[0] >= norm) & (lengths[1] >= norm) & (lengths[0] * lengths[1] > 0)
    products = np.einsum("td,td->t", earlier[speech], later[speech], dtype=np.float64)
    cosines: NDArray[np.float64] = products / (lengths[0] * lengths[1])[speech]
    return cosines


def _sample(tables: list[NDArray[np.floating[Any]]]) -> list[NDArray[np.floating[Any]]]:
    """Evenly spaced whole recordings, about 20 minutes in total."""
    step = max(1, -(-sum(map(len, tables)) // SAMPLED_FRAMES))
    return tables[::step]


def _merge_for_rate(rate_of: Callable[[float], float], rate: float) -> float:
    """The merge threshold with the nearest rate, by bisection; the rate grows with it."""
    low, high = -1.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if rate_of(middle) < rate else (low, middle)
    return (low + high) / 2


class TwoGaussians(msgspec.Struct, frozen=True):
    """Means, standard deviations and weights of the lower and the higher component."""

    means: tuple[float, float]
    deviations: tuple[float, float]
    shares: tuple[float, float]

    @property
    def separation(self) -> float:
        """Ashman's D, the distance of the means in standard deviations; below 2 the components overlap."""
        low, high = self.deviations
        return abs(self.means[1] - self.means[0]) / math.sqrt((low**2 + high**2) / 2)

    @property
    def crossing(self) -> float:
        """The value between the means with equal densities in both components, regardless of their weights.

        If there is none, the value with equal distances to both means in standard deviations.
        """
        (m0, m1), (s0, s1) = self.means, self.deviations
        # Log densities are equal at the roots of a x^2 + b x + c.
        a = 1 / (2 * s1**2) - 1 / (2 * s0**2)
        b = m0 / s0**2 - m1 / s1**2
        c = m1**2 / (2 * s1**2) - m0**2 / (2 * s0**2) + math.log(s1 / s0)
        roots = []
        if abs(a) * (m1 - m0) ** 2 < 1e-9:
            roots = [-c / b] if b else []
        elif (discriminant := b * b - 4 * a * c) >= 0:
            root = math.sqrt(discriminant)
            roots = [(-b + root) / (2 * a), (-b - root) / (2 * a)]
        between = [value for value in roots if m0 <= value <= m1]
        return between[0] if between else (m0 * s1 + m1 * s0) / (s0 + s1)


def fit_two_gaussians(values: NDArray[np.floating[Any]], what: str) -> TwoGaussians:
    """Fit a mixture of two Gaussians by expectation maximisation, initialised with the values below and above the mean.

    Values are binned (4096 bins), so the cost of a step does not depend on their number: a million values take 0.1 s,
    against 48 s with scikit-learn's `GaussianMixture`, which does not support counts, for the same means within 4e-5.

    Args:
        values: (n,), finite.
        what: name of the values for errors, such as "norms of frames".

    Raises:
        UserError: if there are too few values, or all are equal.
    """
    if len(values) < FEWEST_VALUES:
        raise UserError(f"{len(values)} {what} are too few to fit two Gaussians; give more speech")
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-6 * max(abs(low), abs(high), 1e-30):
        raise UserError(f"all {len(values)} {what} are equal ({low:.4g}); give recordings with speech and pauses")
    counts, edges = np.histogram(values, BINS, (low, high))
    centres = (edges[1:] + edges[:-1]) / 2
    weights = counts / counts.sum()
    min_variance = ((high - low) / BINS) ** 2
    middle = float((weights * centres).sum())
    responsibilities = np.stack([centres < middle, centres >= middle]).astype(np.float64)
    previous = -np.inf
    for _ in range(MAX_STEPS):
        mass = responsibilities * weights
        shares = np.maximum(mass.sum(axis=1), 1e-12)
        means = (mass * centres).sum(axis=1) / shares
        variances = np.maximum((mass * (centres - means[:, None]) ** 2).sum(axis=1) / shares, min_variance)
        logs = np.log(shares / np.sqrt(2 * np.pi * variances))[:, None]
        logs = logs - (centres - means[:, None]) ** 2 / (2 * variances)[:, None]
        top = logs.max(axis=0)
        evidence = top + np.log(np.exp(logs - top).sum(axis=0))
        responsibilities = np.exp(logs - evidence)
        likelihood = float((weights * evidence).sum())
        if likelihood - previous < 1e-9:
            break
        previous = likelihood
    order = np.argsort(means)
    first, second = int(order[0]), int(order[1])
    deviations = np.sqrt(variances)
    return TwoGaussians(
        (float(means[first]), float(means[second])),
        (float(deviations[first]), float(deviations[second])),
        (float(shares[first]), float(shares[second])),
    )
