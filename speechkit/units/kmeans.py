"""k-means over data larger than memory: k-means++ on a sample, then passes over all frames.

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
    """How to cluster.

    Attributes:
        clusters: number of units.
        update: ``lloyd`` moves the centroids once a pass, ``minibatch`` after each batch, by a rate that falls with the
            frames that a centroid has seen.
        normalization: of features; ``unit-length`` is spherical k-means.
        sample_frames: held in memory for k-means++ and the first iterations.
        sample_passes: most iterations over the sample.
        passes: most passes over all frames.
        tolerance: relative fall of the mean distance below which it ends.
        backend: ``faiss`` does the iterations over the sample with that library.
        seed: of sample, first centroids and reseeding.
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
                f"sample_frames is {self.sample_frames}, fewer than the {self.clusters} clusters; raise it or ask for "
                "fewer"
            )
        if wrong:
            raise ConfigError("; ".join(wrong))


class KMeansResult(msgspec.Struct, frozen=True):
    """Result of k-means training.

    Attributes:
        codebook: the units.
        distances: mean squared distance of frames to their centroids, before the update of each pass.
        reseeded: number of empty clusters that were reseeded, over all passes.
        frames: how many frames there are.
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
        batches: called once a pass; gives float32 (n, D) batches, always the same, as
            ``lambda: store.batches(10_000)``.
        config: how.
        encoder: that the features came from.
        log: receives a line per pass.

    Raises:
        UserError: if there are fewer (distinct) frames than clusters.
        NotFiniteError: if a frame holds NaN or infinity, with its number in all batches.
    """
    random = np.random.default_rng(config.seed)
    sample, frames, mean, scale = _sample(batches, config, random)
    if frames < config.clusters:
        raise UserError(f"{frames} frames cannot make {config.clusters} clusters; take fewer clusters or more speech")
    sample = normalized_features(sample, config.normalization, mean, scale)
    state = _Centroids(_plus_plus(sample, config.clusters, random), config, random)
    if config.backend == "faiss":
        state.centroids = _faiss(sample, state.centroids, config)
    else:
        _until_still([sample], config.sample_passes, state, config.tolerance, "lloyd")
    sampled_all = len(sample) == frames and config.sample_passes > 0

    def normal() -> Iterable[Float]:
        for batch in batches():
            yield normalized_features(np.asarray(batch, np.float32), config.normalization, mean, scale)

    passes = 0 if sampled_all and config.update == "lloyd" and config.backend == "numpy" else config.passes
    distances = _until_still(normal, passes, state, config.tolerance, config.update, log)
    standard = config.normalization == "standardized"
    codebook = Codebook(
        state.centroids, encoder, config.normalization, mean if standard else None, scale if standard else None
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
        """Count a batch; with ``minibatch`` move the centroids at once."""
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
        there = counts > 0
        moved = (sums[there] - counts[there, None] * self.centroids[there]) / self.seen[there, None]
        self.centroids[there] = self._placed(self.centroids[there] + moved)

    def end(self, update: str) -> float:
        """Close a pass: its mean squared distance, before the update that it makes."""
        frames = self.counts.sum()
        distance = self.total / max(frames, 1)
        alive = self.counts > 0
        if update == "lloyd":
            self.centroids[alive] = self._placed(self.sums[alive] / self.counts[alive, None])
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
        """Keep frames drawn in proportion to their distance, as new seeds for empty clusters."""
        weight = distances.astype(np.float64)
        if (total := weight.sum()) > 0:
            count = min(8, int((weight > 0).sum()))
            self.spare.append(rows[self.random.choice(len(rows), count, replace=False, p=weight / total)].copy())
            if len(self.spare) > 512:
                self.spare.pop(int(self.random.integers(len(self.spare))))

    def _placed(self, centroids: NDArray[np.float64]) -> Float:
        single = centroids.astype(np.float32)
        return unit_length(single) if self.spherical else single


def _until_still(
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
        still = len(distances) > 1 and distances[-2] - distances[-1] <= tolerance * distances[-2]
        if still and state.reseeded == before:
            break
    return distances


def _sums(rows: Float, labels: NDArray[np.int32], clusters: int) -> NDArray[np.float64]:
    """Sum of the rows of each cluster (K, D): sorted by cluster, then one sum a run."""
    order = np.argsort(labels, kind="stable")
    sums = np.zeros((clusters, rows.shape[1]))
    if len(rows):
        found, begins = np.unique(labels[order], return_index=True)
        sums[found] = np.add.reduceat(rows[order], begins, axis=0, dtype=np.float64)
    return sums


def _sample(batches: Batches, config: KMeansConfig, random: np.random.Generator) -> tuple[Float, int, Float, Float]:
    """Frames drawn evenly (algorithm R by batches), how many there are, and mean and standard deviation of all."""
    held: Float | None = None
    seen = 0
    total = squares = np.zeros(1)
    for batch in batches():
        rows = np.asarray(batch, np.float32)
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            raise NotFiniteError(
                f"frame {seen + int(np.flatnonzero(bad)[0])} holds NaN or infinity; encode again without it"
            )
        if held is None:
            held = np.empty((config.sample_frames, rows.shape[1]), np.float32)
        elif rows.shape[1] != held.shape[1]:
            raise UserError(f"frames {seen} on are {rows.shape[1]} wide, those before {held.shape[1]}; encode again")
        total = total + rows.sum(axis=0, dtype=np.float64)
        squares = squares + np.einsum("td,td->d", rows, rows, dtype=np.float64)
        room = max(0, min(len(rows), len(held) - seen))
        held[seen : seen + room] = rows[:room]
        # Later frame number n takes the place of a held one with probability held / (n + 1).
        places = random.integers(0, np.arange(seen + room, seen + len(rows)) + 1)
        taken = np.flatnonzero(places < len(held))
        held[places[taken]] = rows[room + taken]
        seen += len(rows)
    if held is None:
        raise UserError("there are no frames to cluster; all recordings are shorter than a frame, or none was given")
    mean = total / max(seen, 1)
    scale = np.sqrt(np.maximum(squares / max(seen, 1) - mean**2, 0))
    scale[scale < 1e-6] = 1.0  # constant dimensions are not scaled
    return held[:seen], seen, mean.astype(np.float32), scale.astype(np.float32)


def _plus_plus(sample: Float, clusters: int, random: np.random.Generator) -> Float:
    """First centroids: each drawn in proportion to the squared distance from those before it.

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
            # Rounding leaves a trace of distance between equal frames.
            weight = np.where(least > 1e-6 * (norms + 1e-12), least, 0.0)
            total = weight.sum()
            if total <= 0:
                raise UserError(
                    f"only {number} distinct frames for {clusters} clusters; take fewer clusters or more speech"
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
