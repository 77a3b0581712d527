"""Out-of-core k-means: k-means++ and first iterations on a sample, then passes over all frames.

Sources: Arthur and Vassilvitskii 2007 (k-means++); Lloyd 1982; Sculley 2010, algorithm 1 (count-weighted mini-batches);
Dhillon and Modha 2001 (spherical).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError, UserError, require
from speechkit.io.arrays import Float
from speechkit.units.assignment import nearest_distances
from speechkit.units.codebook import Codebook, FeatureNormalization, normalized_features, unit_length
from speechkit.units.finite import NotFiniteError

Batches = Callable[[], Iterable[NDArray[np.float32]]]
SEEDING_FRAMES = 20_000


class KMeansConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """k-means settings.

    Attributes:
        clusters: number of units.
        update: ``lloyd`` updates the centroids once per pass, ``minibatch`` after each batch, with a rate that decays
            with the number of frames assigned to a centroid.
        normalization: of features; ``unit-length`` is spherical k-means.
        sample_frames: size of the sample in memory for k-means++ and the first iterations.
        sample_passes: maximum number of iterations over the sample.
        passes: maximum number of passes over all frames.
        tolerance: relative decrease of the mean distance at which to stop.
        backend: ``faiss`` runs the iterations over the sample with that library.
        seed: of the sample, the initial centroids and reseeding.
    """

    clusters: int = 100
    update: Literal["lloyd", "minibatch"] = "lloyd"
    normalization: FeatureNormalization = "none"
    sample_frames: int = 100_000
    sample_passes: int = 20
    passes: int = 10
    tolerance: float = 1e-3
    backend: Literal["numpy", "faiss"] = "numpy"
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)}, it must be at least {least}"
            for name, least in (("clusters", 1), ("sample_frames", 1), ("sample_passes", 0), ("passes", 0))
            if getattr(self, name) < least
        ]
        if self.sample_frames < self.clusters:
            wrong.append(
                f"sample_frames is {self.sample_frames}, fewer than the {self.clusters} clusters; raise it or lower "
                "clusters"
            )
        if wrong:
            raise ConfigError("; ".join(wrong))


class KMeansResult(msgspec.Struct, frozen=True):
    """Result of k-means training.

    Attributes:
        codebook: the trained codebook.
        distances: mean squared distance of frames to their centroids, before the update of each pass.
        reseeded: number of empty clusters that were reseeded, over all passes.
        frames: number of training frames.
    """

    codebook: Codebook
    distances: list[float]
    reseeded: int
    frames: int


def train_kmeans(
    batches: Batches,
    config: KMeansConfig,
    encoder: EncoderSpec | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> KMeansResult:
    """Train a codebook by k-means.

    Args:
        batches: called once per pass; returns the same float32 (n, D) batches each time, as
            ``lambda: store.batches(10_000)``.
        config: settings.
        encoder: encoder of the features.
        log: receives a line per pass.

    Raises:
        UserError: if there are fewer (distinct) frames than clusters.
        NotFiniteError: if a frame contains NaN or infinity, with its number over all batches.
    """
    random = np.random.default_rng(config.seed)
    sample, frames, mean, scale = _sample(batches, config, random)
    if frames < config.clusters:
        raise UserError(
            f"{frames} frames are too few for {config.clusters} clusters; use fewer clusters or more speech"
        )
    sample = normalized_features(sample, config.normalization, mean, scale)
    state = _Centroids(_plus_plus(sample, config.clusters, random), config, random)
    if config.backend == "faiss":
        state.centroids = _faiss(sample, state.centroids, config)
    else:
        _iterate([sample], config.sample_passes, state, config.tolerance, "lloyd")
    sampled_all = len(sample) == frames and config.sample_passes > 0

    def normalized_batches() -> Iterable[Float]:
        for batch in batches():
            yield normalized_features(np.asarray(batch, np.float32), config.normalization, mean, scale)

    passes = 0 if sampled_all and config.update == "lloyd" and config.backend == "numpy" else config.passes
    distances = _iterate(normalized_batches, passes, state, config.tolerance, config.update, log)
    standardized = config.normalization == "standardized"
    codebook = Codebook(
        state.centroids,
        encoder,
        config.normalization,
        mean if standardized else None,
        scale if standardized else None,
    )
    return KMeansResult(codebook, distances or state.distances, state.reseeded, frames)


class _Centroids:
    """Centroids and the accumulators of a pass."""

    def __init__(self, centroids: Float, config: KMeansConfig, random: np.random.Generator) -> None:
        self.centroids = centroids
        self.spherical = config.normalization == "unit-length"
        self.random = random
        self.seen = np.zeros(len(centroids))
        self.reseeded = 0
        self.distances: list[float] = []
        self._begin()

    def _begin(self) -> None:
        self.sums = np.zeros(self.centroids.shape)
        self.counts = np.zeros(len(self.centroids))
        self.total = 0.0
        self.spare: list[Float] = []

    def add(self, rows: Float, update: str) -> None:
        """Accumulate a batch; with ``minibatch`` also update the centroids."""
        labels, distances = nearest_distances(rows, self.centroids)
        self.total += float(distances.sum(dtype=np.float64))
        counts = np.bincount(labels, minlength=len(self.centroids)).astype(np.float64)
        sums = _sums(rows, labels, len(self.centroids))
        self.counts += counts
        self._keep_spare(rows, distances)
        if update == "lloyd":
            self.sums += sums
            return
        self.seen += counts
        used = counts > 0
        step = (sums[used] - counts[used, None] * self.centroids[used]) / self.seen[used, None]
        self.centroids[used] = self._normalized(self.centroids[used] + step)

    def end(self, update: str) -> float:
        """End a pass and update the centroids; returns the mean squared distance before the update."""
        frames = self.counts.sum()
        distance = self.total / max(frames, 1)
        alive = self.counts > 0
        if update == "lloyd":
            self.centroids[alive] = self._normalized(self.sums[alive] / self.counts[alive, None])
        dead = np.flatnonzero(~alive)
        if len(dead) and self.spare:
            spare = np.concatenate(self.spare)
            chosen = spare[self.random.permutation(len(spare))[: len(dead)]]
            self.centroids[dead[: len(chosen)]] = chosen
            self.seen[dead[: len(chosen)]] = 0
            self.reseeded += len(chosen)
        self.distances.append(distance)
        self._begin()
        return float(distance)

    def _keep_spare(self, rows: Float, distances: NDArray[np.float32]) -> None:
        """Keep frames sampled in proportion to their distance, to reseed empty clusters."""
        weight = distances.astype(np.float64)
        if (total := weight.sum()) > 0:
            count = min(8, int((weight > 0).sum()))
            self.spare.append(rows[self.random.choice(len(rows), count, replace=False, p=weight / total)].copy())
            if len(self.spare) > 512:
                self.spare.pop(int(self.random.integers(len(self.spare))))

    def _normalized(self, centroids: NDArray[np.float64]) -> Float:
        single = centroids.astype(np.float32)
        return unit_length(single) if self.spherical else single


def _iterate(
    batches: list[Float] | Callable[[], Iterable[Float]],
    passes: int,
    state: _Centroids,
    tolerance: float,
    update: str,
    log: Callable[[str], None] = lambda line: None,
) -> list[float]:
    distances: list[float] = []
    for number in range(passes):
        for rows in batches() if callable(batches) else batches:
            state.add(rows, update)
        before = state.reseeded
        distances.append(state.end(update))
        log(f"pass {number + 1}: mean squared distance {distances[-1]:.5g}, {state.reseeded - before} reseeded")
        converged = len(distances) > 1 and distances[-2] - distances[-1] <= tolerance * distances[-2]
        if converged and state.reseeded == before:
            break
    return distances


def _sums(rows: Float, labels: NDArray[np.int32], clusters: int) -> NDArray[np.float64]:
    """Sum of the rows of each cluster (K, D), by sorting and segment sums."""
    order = np.argsort(labels, kind="stable")
    sums = np.zeros((clusters, rows.shape[1]))
    if len(rows):
        used, begins = np.unique(labels[order], return_index=True)
        sums[used] = np.add.reduceat(rows[order], begins, axis=0, dtype=np.float64)
    return sums


def _sample(batches: Batches, config: KMeansConfig, random: np.random.Generator) -> tuple[Float, int, Float, Float]:
    """Reservoir sample of the frames (algorithm R), their number, and mean and standard deviation of all frames."""
    held: Float | None = None
    seen = 0
    total = squares = np.zeros(1)
    for batch in batches():
        rows = np.asarray(batch, np.float32)
        invalid = ~np.isfinite(rows).all(axis=1)
        if invalid.any():
            raise NotFiniteError(
                f"frame {seen + int(np.flatnonzero(invalid)[0])} contains NaN or infinity; encode the recordings again"
            )
        if held is None:
            held = np.empty((config.sample_frames, rows.shape[1]), np.float32)
        elif rows.shape[1] != held.shape[1]:
            raise UserError(
                f"frames from {seen} on have width {rows.shape[1]}, earlier ones {held.shape[1]}; encode them again"
            )
        total = total + rows.sum(axis=0, dtype=np.float64)
        squares = squares + np.einsum("td,td->d", rows, rows, dtype=np.float64)
        room = max(0, min(len(rows), len(held) - seen))
        held[seen : seen + room] = rows[:room]
        # Frame n replaces a random frame of the sample with probability sample size / (n + 1).
        slots = random.integers(0, np.arange(seen + room, seen + len(rows)) + 1)
        chosen = np.flatnonzero(slots < len(held))
        held[slots[chosen]] = rows[room + chosen]
        seen += len(rows)
    if held is None:
        raise UserError("there are no frames to cluster; give recordings longer than a frame")
    mean = total / max(seen, 1)
    scale = np.sqrt(np.maximum(squares / max(seen, 1) - mean**2, 0))
    scale[scale < 1e-6] = 1.0  # constant dimensions are not scaled
    return held[:seen], seen, mean.astype(np.float32), scale.astype(np.float32)


def _plus_plus(sample: Float, clusters: int, random: np.random.Generator) -> Float:
    """Initial centroids by k-means++: each sampled in proportion to its squared distance from the earlier ones.

    Raises:
        UserError: if there are fewer distinct frames than clusters.
    """
    rows = sample
    if len(sample) > (limit := max(SEEDING_FRAMES, 4 * clusters)):
        rows = sample[random.choice(len(sample), limit, replace=False)]
    norms = np.einsum("td,td->t", rows, rows, dtype=np.float64)
    chosen = np.empty(clusters, np.int64)
    least = np.full(len(rows), np.inf)
    chosen[0] = random.integers(len(rows))
    for number in range(clusters):
        if number:
            # Distances between equal frames are not exactly zero due to rounding.
            weight = np.where(least > 1e-6 * (norms + 1e-12), least, 0.0)
            total = weight.sum()
            if total <= 0:
                raise UserError(
                    f"only {number} distinct frames for {clusters} clusters; use fewer clusters or more speech"
                )
            chosen[number] = random.choice(len(rows), p=weight / total)
        centre = rows[chosen[number]]
        distance = norms - 2.0 * (rows @ centre) + norms[chosen[number]]
        least = np.minimum(least, np.maximum(distance, 0))
    first: Float = rows[chosen].copy()
    return first


def _faiss(sample: Float, first: Float, config: KMeansConfig) -> Float:
    faiss = require("faiss")
    clustering = faiss.Kmeans(
        sample.shape[1],
        config.clusters,
        niter=max(1, config.sample_passes),
        seed=config.seed,
        spherical=config.normalization == "unit-length",
        min_points_per_centroid=1,
        max_points_per_centroid=max(1, len(sample)),
    )
    clustering.train(sample, init_centroids=first)
    return np.asarray(clustering.centroids, np.float32)
