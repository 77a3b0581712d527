"""Thresholds of the segmenters, estimated from the data and stored with the encoder that they belong to."""

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

# Neighbours so near hear almost the same samples, and differ at boundaries only; further ones differ everywhere.
NEIGHBOUR_FRAMES = 2
SAMPLED_FRAMES = 60_000
BISECTIONS = 14
BINS = 4096
MAX_STEPS = 2000
FEWEST_VALUES = 10


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Speech and merge thresholds for the frames of one encoder.

    Attributes:
        encoder: that the frames came from; constants do not carry over to another.
        norm: a frame of at least this L2 norm is speech.
        merge: a frame with at least this cosine to a segment's mean belongs to it; -1 to 1.
        penalty: what a further segment costs in `DynamicSegmenter`, in units of squared norm; None if not estimated.
        norm_separation: how far apart the two kinds of norms lie, in deviations; under 2 the kinds overlap.
        merge_separation: the same of the cosines.
        origin: the mean frame of silence, taken off every frame first (`centred`), so that norms measure the distance
            from silence; None for an encoder that maps silence to zero itself, as Sylber's does.
        frames: how many the estimate rests on.
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
        """Frames (T, D) as segmenters with these thresholds take them."""
        if self.origin is None:
            return features
        return np.asarray(features, np.float32) - np.asarray(self.origin, np.float32)

    def greedy(self, **settings: Any) -> GreedySegmenter:
        """The greedy segmenter with these thresholds."""
        return GreedySegmenter(self.norm, self.merge, **settings)

    def save(self, path: str | Path) -> None:
        """Write JSON."""
        write_json(path, self)

    @classmethod
    def load(cls, path: str | Path, encoder: EncoderSpec | None = None) -> Thresholds:
        """Read what `save` wrote, for features of ``encoder``.

        Raises:
            UserError: if the file is missing or something else, or belongs to another encoder.
        """
        try:
            found = msgspec.json.decode(Path(path).read_bytes(), type=cls)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror}); write it with speechkit syllables thresholds"
            ) from error
        except msgspec.DecodeError as error:
            raise UserError(f"{path}: holds no thresholds ({error}); write it again") from error
        if encoder is not None:
            found.encoder.require(encoder, f"the thresholds {path}")
        return found


def estimate_thresholds(
    features: Sequence[NDArray[np.floating[Any]]],
    encoder: EncoderSpec,
    *,
    loudness: Sequence[NDArray[np.float64]] | None = None,
    rate: float | None = None,
) -> Thresholds:
    """Thresholds from frames alone: two Gaussians tell speech from silence, and syllables from their boundaries.

    Speech has the higher norms, and begins where both kinds are equally likely. A boundary shows as a low cosine of
    neighbouring frames of speech; where the kinds of cosines overlap, as they do for encoders that were not trained for
    syllables, give a ``rate`` instead.

    Args:
        features: (T, D) of some recordings with speech and pauses; minutes are enough, and no more than about twenty
            are looked at for the rate.
        encoder: that they came from.
        loudness: (T,) in decibels of each; frames as quiet as the quiet kind's mean become the ``origin``. Without it
            the frames are taken as they are, which only fits an encoder that maps silence near zero.
        rate: choose ``merge`` and ``penalty`` so that speech has this many segments a second, or as near to it as the
            recordings allow, since pauses cut too. Without it, ``merge`` is
            where both kinds of cosines are equally likely, and ``penalty`` gives the same number of segments.

    Raises:
        UserError: if there is too little speech, or all frames are alike.
    """
    tables = [checked_features(table) for table in features if len(table)]
    if any(table.shape[1] != encoder.dim for table in tables):
        raise UserError(f"the encoder gives frames of width {encoder.dim}, these have another; use its own frames")
    origin = None if loudness is None else _silence(tables, [levels for levels in loudness if len(levels)])
    if origin is not None:
        tables = [np.asarray(table, np.float32) - origin for table in tables]
    norms = [frame_norms(table) for table in tables]
    kinds = fit_two_gaussians(np.concatenate([*norms, np.zeros(0)]), "norms of frames")
    norm = kinds.crossing
    near = [_neighbour_cosines(table, lengths, norm) for table, lengths in zip(tables, norms, strict=True)]
    likeness = fit_two_gaussians(np.concatenate(near), "cosines of neighbouring frames of speech")
    sample = _sample(tables)
    speech_seconds = sum(int((frame_norms(table) >= norm).sum()) for table in sample) * HOP_SECONDS

    def greedy_rate(merge: float) -> float:
        segmenter = GreedySegmenter(norm, merge)
        return sum(len(segmenter.segment(table)) for table in sample) / max(speech_seconds, HOP_SECONDS)

    merge = min(max(likeness.crossing, -1.0), 1.0) if rate is None else _merge_for_rate(greedy_rate, rate)
    penalty = penalty_for_rate(sample, greedy_rate(merge) if rate is None else rate, norm=norm)
    return Thresholds(
        encoder=encoder,
        norm=norm,
        merge=merge,
        penalty=penalty,
        norm_separation=kinds.separation,
        merge_separation=likeness.separation,
        origin=None if origin is None else origin.tolist(),
        frames=sum(map(len, tables)),
    )


def _silence(tables: list[NDArray[np.floating[Any]]], loudness: list[NDArray[np.float64]]) -> Float:
    """Mean of the quiet frames."""
    if [len(table) for table in tables] != [len(levels) for levels in loudness]:
        raise UserError("frames and their loudness differ in number; give one level for each frame")
    levels = np.concatenate([*loudness, np.zeros(0)])
    quiet = fit_two_gaussians(levels, "levels of frames").means[0]
    total, count = np.zeros(tables[0].shape[1]), 0
    for table, own in zip(tables, loudness, strict=True):
        chosen = np.asarray(table, np.float64)[own <= quiet]
        total += chosen.sum(axis=0)
        count += len(chosen)
    return (total / count).astype(np.float32)


def _neighbour_cosines(
    table: NDArray[np.floating[Any]], norms: NDArray[np.float64], norm: float
) -> NDArray[np.float64]:
    frames = np.asarray(table, np.float32)
    before, behind = frames[:-NEIGHBOUR_FRAMES], frames[NEIGHBOUR_FRAMES:]
    lengths = norms[:-NEIGHBOUR_FRAMES], norms[NEIGHBOUR_FRAMES:]
    speech = (lengths[0] >= norm) & (lengths[1] >= norm) & (lengths[0] * lengths[1] > 0)
    products = np.einsum("td,td->t", before[speech], behind[speech], dtype=np.float64)
    cosines: NDArray[np.float64] = products / (lengths[0] * lengths[1])[speech]
    return cosines


def _sample(tables: list[NDArray[np.floating[Any]]]) -> list[NDArray[np.floating[Any]]]:
    """Whole recordings, evenly spread, of about twenty minutes in all."""
    step = max(1, -(-sum(map(len, tables)) // SAMPLED_FRAMES))
    return tables[::step]


def _merge_for_rate(rate_of: Callable[[float], float], rate: float) -> float:
    """The merge threshold whose rate is nearest: the higher it is, the more segments there are."""
    low, high = -1.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if rate_of(middle) < rate else (low, middle)
    return (low + high) / 2


class TwoGaussians(msgspec.Struct, frozen=True):
    """Means, standard deviations and shares of the lower and the higher kind."""

    means: tuple[float, float]
    deviations: tuple[float, float]
    shares: tuple[float, float]

    @property
    def separation(self) -> float:
        """Ashman's D: the distance of the means in deviations; the kinds overlap where it is under 2."""
        low, high = self.deviations
        return abs(self.means[1] - self.means[0]) / math.sqrt((low**2 + high**2) / 2)

    @property
    def crossing(self) -> float:
        """The value between the means that is as likely in one kind as in the other, whatever their shares.

        Where no value between the means is, it is the one that lies as many deviations from either.
        """
        (m0, m1), (s0, s1) = self.means, self.deviations
        # The logarithms of both densities are equal where a x^2 + b x + c = 0.
        a = 1 / (2 * s1**2) - 1 / (2 * s0**2)
        b = m0 / s0**2 - m1 / s1**2
        c = m1**2 / (2 * s1**2) - m0**2 / (2 * s0**2) + math.log(s1 / s0)
        inside = []
        if abs(a) * (m1 - m0) ** 2 < 1e-9:
            inside = [-c / b] if b else []
        elif (discriminant := b * b - 4 * a * c) >= 0:
            root = math.sqrt(discriminant)
            inside = [(-b + root) / (2 * a), (-b - root) / (2 * a)]
        between = [value for value in inside if m0 <= value <= m1]
        return between[0] if between else (m0 * s1 + m1 * s0) / (s0 + s1)


def fit_two_gaussians(values: NDArray[np.floating[Any]], what: str) -> TwoGaussians:
    """The mixture of two Gaussians that expectation maximisation finds from the values' own halves.

    The values are counted in 4096 bins first, so that a step costs the same however many there are: a million take
    0.1 s, where scikit-learn's `GaussianMixture`, which takes no counts, needs 48 s for the same means within 4e-5.

    Args:
        values: (n,), finite.
        what: they are, for the error, as "norms of frames".

    Raises:
        UserError: if there are too few values, or all are alike.
    """
    if len(values) < FEWEST_VALUES:
        raise UserError(f"{len(values)} {what} are too few to tell two kinds apart; give more speech")
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-6 * max(abs(low), abs(high), 1e-30):
        raise UserError(f"all {len(values)} {what} are alike ({low:.4g}); give recordings with speech and pauses")
    counts, edges = np.histogram(values, BINS, (low, high))
    centres = (edges[1:] + edges[:-1]) / 2
    weights = counts / counts.sum()
    narrowest = ((high - low) / BINS) ** 2
    middle = float((weights * centres).sum())
    belongs = np.stack([centres < middle, centres >= middle]).astype(np.float64)
    previous = -np.inf
    for _ in range(MAX_STEPS):
        mass = belongs * weights
        shares = np.maximum(mass.sum(axis=1), 1e-12)
        means = (mass * centres).sum(axis=1) / shares
        variances = np.maximum((mass * (centres - means[:, None]) ** 2).sum(axis=1) / shares, narrowest)
        logs = np.log(shares / np.sqrt(2 * np.pi * variances))[:, None]
        logs = logs - (centres - means[:, None]) ** 2 / (2 * variances)[:, None]
        top = logs.max(axis=0)
        evidence = top + np.log(np.exp(logs - top).sum(axis=0))
        belongs = np.exp(logs - evidence)
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
