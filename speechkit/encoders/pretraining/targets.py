"""Targets of the predictive family: the cluster of every frame of an encoder, by k-means."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.data.records import Utterance
from speechkit.encoders.encoder import Encoder
from speechkit.errors import ConfigError
from speechkit.io.arrays import read_arrays, write_arrays

Row = tuple[Utterance, Path]
"""A recording, and the manifest that its path is relative to."""
SPREAD = 4
"""The sample for k-means is one frame in so many of the recordings that it comes from, or in more."""


def cluster_frames(
    encoder: Encoder,
    train: Sequence[Row],
    held_out: Sequence[Row],
    path: Path,
    *,
    clusters: int,
    sampled_frames: int,
    passes: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Cluster frames of the training recordings, and write the cluster of each, and of each held-out one.

    Returns:
        How many clusters are in use.

    Raises:
        ConfigError: if there are fewer frames than clusters, or frames are not finite.
    """
    from sklearn.cluster import MiniBatchKMeans

    lengths = [encoder.num_frames(round(row.duration * 16_000)) for row, _ in train]
    # Equally spaced recordings, and frames of them: to encode all twice would cost days where there are many.
    chosen = slice(None, None, max(1, sum(lengths) // (SPREAD * sampled_frames)))
    step = max(1, sum(lengths[chosen]) // sampled_frames)
    sample, seen = [], 0
    for frames in encoded(encoder, train[chosen], progress):
        sample.append(frames[(-seen) % step :: step])
        seen += len(frames)
    points = np.concatenate(sample)
    if len(points) < clusters:
        raise ConfigError(
            f"{len(points)} of {sum(lengths)} frames cannot make {clusters} clusters; set targets.clusters lower, or "
            "targets.sampled_frames higher"
        )
    if not np.isfinite(points).all():
        raise ConfigError(f"targets.encoder={encoder.spec.model}: gives frames that are not finite; choose another one")
    kmeans = MiniBatchKMeans(clusters, random_state=seed % 2**32, batch_size=10_000, max_iter=passes, n_init=1)
    kmeans.fit(points)
    labels = [kmeans.predict(frames).astype(np.uint16) for frames in encoded(encoder, [*train, *held_out], progress)]
    ends = np.cumsum([len(item) for item in labels])
    every = np.concatenate(labels)
    write_arrays(path, {"labels": every, "ends": ends, "clusters": np.array([clusters])})
    return len(np.unique(every))


def no_targets(path: Path) -> None:
    """Write the file of a family that has none."""
    write_arrays(path, {"clusters": np.zeros(1, np.int64)})


def encoded(
    encoder: Encoder, rows: Sequence[Row], progress: Callable[[int, int], None]
) -> Iterator[NDArray[np.float32]]:
    """Frames of every row."""
    from speechkit.data.audio import read_waveform

    for done, (row, manifest) in enumerate(rows, 1):
        yield encoder.encode(read_waveform(row, manifest))
        progress(done, len(rows))


class Targets:
    """The clusters of `cluster_frames`: item number to the cluster of each frame, the held-out items last."""

    def __init__(self, path: Path) -> None:
        arrays = read_arrays(path)
        self.clusters = int(arrays["clusters"][0])
        self._labels: NDArray[Any] = arrays["labels"]
        self._ends = arrays["ends"]

    def __call__(self, item: int) -> NDArray[np.integer[Any]]:
        """The clusters of the frames of an item."""
        begin = int(self._ends[item - 1]) if item else 0
        return self._labels[begin : int(self._ends[item])]
