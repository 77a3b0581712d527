"""Clusters of frames, for the predictive family."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from speechkit.data.records import Utterance
from speechkit.errors import ConfigError
from speechkit.io.arrays import read_arrays, write_arrays
from speechkit.pipeline import Context

if TYPE_CHECKING:
    from .config import TargetsConfig

SPREAD = 4
"""The sample for k-means is one frame in so many of the recordings that it comes from, or in more."""


def make_targets(context: Context) -> None:
    """Cluster the training frames by k-means and write the cluster of each, and of each held-out one."""
    config: TargetsConfig = context.config
    if config.family != "predictive":
        write_arrays(context.output("targets.safetensors"), {"clusters": np.zeros(1, np.int64)})
        context.say(f"the {config.family} family has no targets")
        return
    from sklearn.cluster import MiniBatchKMeans

    from speechkit.encoders import load_encoder

    train = list(context.read("train"))
    rows = [(row, Path(context.inputs["train_manifest"])) for row in train]
    rows += [(row, Path(context.inputs["dev_manifest"])) for row in context.read("dev")]
    encoder = load_encoder(config.encoder, layer=config.layer, device=context.device)
    lengths = [encoder.num_frames(round(row.duration * 16_000)) for row in train]
    # Equally spaced recordings, and frames of them: to encode all twice would cost days where there are many.
    heard = slice(None, len(train), max(1, sum(lengths) // (SPREAD * config.sampled_frames)))
    every = max(1, sum(lengths[heard]) // config.sampled_frames)
    sample, seen = [], 0
    for frames in encoded(encoder, rows[heard], context):
        sample.append(frames[(-seen) % every :: every])
        seen += len(frames)
    points = np.concatenate(sample)
    if len(points) < config.clusters:
        raise ConfigError(
            f"{len(points)} of {sum(lengths)} frames cannot make {config.clusters} clusters; set targets.clusters "
            "lower, or targets.sampled_frames higher"
        )
    if not np.isfinite(points).all():
        raise ConfigError(f"targets.encoder={config.encoder}: gives frames that are not finite; choose another encoder")
    clusters = MiniBatchKMeans(
        config.clusters, random_state=context.seed % 2**32, batch_size=10_000, max_iter=config.passes, n_init=1
    ).fit(points)
    labels = [clusters.predict(frames).astype(np.uint16) for frames in encoded(encoder, rows, context)]
    ends = np.cumsum([len(item) for item in labels])
    context.say(f"{len(np.unique(np.concatenate(labels)))} of {config.clusters} clusters are in use")
    write_arrays(
        context.output("targets.safetensors"),
        {"labels": np.concatenate(labels), "ends": ends, "clusters": np.array([config.clusters])},
    )


def encoded(encoder: Any, rows: list[tuple[Utterance, Path]], context: Context) -> Iterator[NDArray[np.float32]]:
    """Frames of every row."""
    from speechkit.data.audio import read_waveform

    for done, (row, manifest) in enumerate(rows, 1):
        yield encoder.encode(read_waveform(row, manifest))
        context.progress.update(done, len(rows))


class Targets:
    """The clusters of `make_targets`: item number to the cluster of each frame, the held-out items last."""

    def __init__(self, path: Path) -> None:
        arrays = read_arrays(path)
        self.clusters = int(arrays["clusters"][0])
        self._labels: NDArray[Any] = arrays["labels"]
        self._ends = arrays["ends"]

    def __call__(self, item: int) -> NDArray[np.integer[Any]]:
        """The clusters of the frames of an item."""
        begin = int(self._ends[item - 1]) if item else 0
        return self._labels[begin : int(self._ends[item])]
