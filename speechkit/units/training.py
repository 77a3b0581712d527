"""Training of any kind of k-means quantizer on a store of features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.store import FeatureStore
from speechkit.units.codebook import Codebook
from speechkit.units.finite import naming_recordings
from speechkit.units.kmeans import KMeansConfig, train_kmeans
from speechkit.units.records import STACKED, Kind
from speechkit.units.stacked import Kind as Stacked
from speechkit.units.stacked import StackedQuantizer, train_stacked

BATCH_FRAMES = 10_000


def train_quantizer(
    store: FeatureStore,
    kind: Kind,
    config: KMeansConfig,
    codebooks: int,
    log: Callable[[str], None] = lambda line: None,
    before_batch: Callable[[], None] = lambda: None,
) -> Codebook | StackedQuantizer:
    """Train a quantizer on the frames of a store.

    Args:
        store: features of one layer.
        kind: ``k-means``, ``spherical`` (on unit-norm frames), ``residual`` or ``product``.
        config: of k-means.
        codebooks: number of codebooks of a residual or product quantizer.
        log: receives a line per pass.
        before_batch: called before every batch; may raise to stop training.

    Raises:
        UserError: if a frame contains NaN or infinity, naming the recording, or there are too few frames.
    """
    if kind == "spherical":
        config = msgspec.structs.replace(config, normalization="unit-length")

    def batches() -> Iterator[NDArray[np.float32]]:
        for batch in store.batches(BATCH_FRAMES):
            before_batch()
            yield batch

    with naming_recordings(store):
        if kind in STACKED:
            return train_stacked(batches, cast("Stacked", kind), codebooks, config, store.spec, log)
        return train_kmeans(batches, config, store.spec, log).codebook
