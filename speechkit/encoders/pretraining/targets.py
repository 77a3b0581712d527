"""Targets of masked prediction: the k-means cluster of every frame of an encoder."""

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
MIN_FRAME_STEP = 4
"""The k-means sample takes at most every fourth frame of a recording, so that it covers many recordings."""


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
    """Cluster a sample of training frames, and write the cluster of every training and held-out frame.

    Returns:
        The number of clusters in use.

    Raises:
        ConfigError: if there are fewer frames than clusters, or frames are not finite.
    """
    from sklearn.cluster import MiniBatchKMeans

    lengths = [encoder.num_frames(round(row.duration * 16_000)) for row, _ in train]
    # Equally spaced recordings, and frames of them: encoding a large corpus twice would take days.
    chosen = slice(None, None, max(1, sum(lengths) // (MIN_FRAME_STEP * sampled_frames)))
    step = max(1, sum(lengths[chosen]) // sampled_frames)
    sample, done = [], 0
    for frames in encoded(encoder, train[chosen], progress):
        sample.append(frames[(-done) % step :: step])
        done += len(frames)
    points = np.concatenate(sample)
    if len(points) < clusters:
        raise ConfigError(
            f"a sample of {len(points)} of {sum(lengths)} frames is too small for {clusters} clusters; set "
            "targets.clusters lower or targets.sampled_frames higher"
        )
    if not np.isfinite(points).all():
        raise ConfigError(f"targets.encoder={encoder.spec.model}: its frames are not finite; choose another encoder")
    kmeans = MiniBatchKMeans(clusters, random_state=seed % 2**32, batch_size=10_000, max_iter=passes, n_init=1)
    kmeans.fit(points)
    labels = [kmeans.predict(frames).astype(np.uint16) for frames in encoded(encoder, [*train, *held_out], progress)]
    ends = np.cumsum([len(item) for item in labels])
    joined = np.concatenate(labels)
    write_arrays(path, {"labels": joined, "ends": ends, "clusters": np.array([clusters])})
    return len(np.unique(joined))


def no_targets(path: Path) -> None:
    """Write an empty file of targets, for families without any."""
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
    """The clusters written by `cluster_frames`: from an item to those of its frames, held-out items last."""

    def __init__(self, path: Path) -> None:
        arrays = read_arrays(path)
        self.clusters = int(arrays["clusters"][0])
        self._labels: NDArray[Any] = arrays["labels"]
        self._ends = arrays["ends"]

    def __call__(self, item: int) -> NDArray[np.integer[Any]]:
        """Clusters of the frames of an item (T,)."""
        begin = int(self._ends[item - 1]) if item else 0
        return self._labels[begin : int(self._ends[item])]
