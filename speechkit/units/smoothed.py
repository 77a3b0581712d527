"""A codebook with temporal smoothing: averaged frames, and a penalty for switching units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError, UserError
from speechkit.io.arrays import Float
from speechkit.io.atomic import write_json
from speechkit.io.hashing import digest_bytes
from speechkit.units.codebook import Codebook, read_spec
from speechkit.units.deduplication import deduplicate
from speechkit.units.kmeans import KMeansConfig, train_kmeans
from speechkit.units.smoothing import averaged, long_path

SPEC_FILE = "quantizer.json"
BATCH_FRAMES = 10_000


class Smoothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Smoothing settings.

    Attributes:
        frames: odd window length of the moving average of frames.
        switch_penalty: penalty for switching units, in units of the mean squared distance of a frame to its centroid.
    """

    frames: int = 1
    switch_penalty: float = msgspec.field(default=0.0, name="price")  # the key in stored codebooks

    def __post_init__(self) -> None:
        if self.frames < 1 or self.frames % 2 == 0:
            raise ConfigError(f"frames is {self.frames}, it must be odd")
        if not 0 <= self.switch_penalty < math.inf:
            raise ConfigError(f"switch_penalty is {self.switch_penalty}, it must be a finite number of 0 or more")


class SmoothedSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="smoothed", tag_field="kind"):
    """Identity of a smoothed codebook, for compatibility checks.

    Attributes:
        encoder: of the features.
        clusters: number of units K.
        smoothing: settings.
        distance: mean squared distance, the unit of the penalty.
        digest: of the codebook and the smoothing; units with the same digest are comparable.
    """

    encoder: EncoderSpec | None
    clusters: int
    smoothing: Smoothing
    distance: float
    digest: str


class SmoothedCodebook:
    """A quantizer with the interface of `Codebook` that decodes the frames of an item jointly.

    Args:
        codebook: trained on frames averaged in the same way.
        smoothing: settings.
        distance: mean squared distance of averaged frames to their centroids (`mean_distance`).

    Raises:
        UserError: if ``distance`` is not above 0.
    """

    def __init__(self, codebook: Codebook, smoothing: Smoothing, distance: float) -> None:
        if not distance > 0:
            raise UserError(f"the mean squared distance is {distance}; it must be above 0, the unit of the penalty")
        self.codebook = codebook
        settings = msgspec.json.encode([codebook.spec.digest, smoothing, distance])
        self.spec = SmoothedSpec(codebook.spec.encoder, codebook.num_units, smoothing, distance, digest_bytes(settings))

    @property
    def num_units(self) -> int:
        """Number of units K."""
        return self.codebook.num_units

    @property
    def centroids(self) -> Float:
        """Centroids (K, D)."""
        return self.codebook.centroids

    def assign(self, features: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """Unit of each frame of an item: (T, D) to (T,)."""
        self.codebook.normalized(features)  # reports NaN frames before averaging spreads them
        rows = self.codebook.normalized(averaged(features, self.spec.smoothing.frames))
        centroids = self.codebook.centroids
        squares = np.einsum("kd,kd->k", centroids, centroids)

        def costs(begin: int, end: int) -> Float:
            # |x|² is the same for all units of a frame and can be dropped.
            return np.asarray((squares - 2 * (rows[begin:end] @ centroids.T)) / self.spec.distance, np.float32)

        return long_path(costs, len(rows), self.spec.smoothing.switch_penalty)

    def with_penalty(self, switch_penalty: float) -> SmoothedCodebook:
        """The same codebook with another penalty for switching units."""
        return SmoothedCodebook(
            self.codebook, Smoothing(self.spec.smoothing.frames, switch_penalty), self.spec.distance
        )

    def units(self, features: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """Deduplicated units of an item."""
        return deduplicate(self.assign(features))[0]

    def check(self, encoder: EncoderSpec, what: str = "the codebook") -> None:
        """Reject features of another encoder or layer.

        Raises:
            UserError: naming both and the first field that differs.
        """
        self.codebook.check(encoder, what)

    def save(self, folder: Path | str) -> None:
        """Write the codebook's files into ``codebook/``, then ``quantizer.json``."""
        self.codebook.save(Path(folder) / "codebook")
        write_json(Path(folder) / SPEC_FILE, self.spec)

    @classmethod
    def load(cls, folder: Path | str) -> SmoothedCodebook:
        """Read what `save` wrote.

        Raises:
            UserError: if a file is missing or damaged, or the codebook does not match the spec.
        """
        spec: SmoothedSpec = read_spec(Path(folder) / SPEC_FILE, SmoothedSpec)
        quantizer = cls(Codebook.load(Path(folder) / "codebook"), spec.smoothing, spec.distance)
        if quantizer.spec != spec:
            raise UserError(f"{folder}: {SPEC_FILE} does not match the codebook beside it; copy both again")
        return quantizer


def train_smoothed(
    items: Callable[[], Iterable[NDArray[np.floating[Any]]]],
    smoothing: Smoothing,
    config: KMeansConfig,
    encoder: EncoderSpec,
    log: Callable[[str], None] = lambda line: None,
) -> SmoothedCodebook:
    """Train a smoothed codebook by k-means on averaged frames.

    Args:
        items: returns the features (T, D) of each recording; called once per pass.
        smoothing: settings.
        config: of k-means.
        encoder: of the features.
        log: receives progress messages.

    Raises:
        UserError: if there are fewer frames than clusters.
    """

    def batches() -> Iterator[Float]:
        held: list[Float] = []
        for features in items():
            held.append(averaged(features, smoothing.frames))
            if sum(map(len, held)) >= BATCH_FRAMES:
                yield np.concatenate(held)
                held = []
        if held:
            yield np.concatenate(held)

    codebook = train_kmeans(batches, config, encoder, log).codebook
    return SmoothedCodebook(codebook, smoothing, mean_distance(codebook, items(), smoothing.frames))


def mean_distance(codebook: Codebook, items: Iterable[NDArray[np.floating[Any]]], frames: int) -> float:
    """Mean squared distance of the items' averaged frames to their centroids.

    Raises:
        UserError: if the items have no frames.
    """
    total, count = 0.0, 0
    for features in items:
        _, distances = codebook.distances(averaged(features, frames))
        total, count = total + float(distances.sum(dtype=np.float64)), count + len(distances)
    if not count:
        raise UserError("the items have no frames; give recordings longer than 20 ms")
    return total / count
