"""New units for invariant quantizers to learn: clusters of what a trained network makes of clean speech.

A network that was taught to say the same of changed and of clean audio keeps what both share and loses what tells them
apart. Its own space is therefore cut into units that are harder to change than those of the encoder's space. Units of
that space alone tell words apart a little less well; those of both spaces together do not.

Source: Hsu et al. 2021, HuBERT, section II.B: every iteration clusters the features of the network before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.feature_statistics import feature_statistics
from speechkit.encoders.store import INDEX, FeatureStore, FeatureWriter
from speechkit.units.invariant import InvariantQuantizer
from speechkit.units.invariant_batches import Read
from speechkit.units.kmeans import KMeansConfig
from speechkit.units.smoothed import SPEC_FILE, SmoothedCodebook, Smoothing, train_smoothed


def recluster(
    quantizers: Sequence[InvariantQuantizer],
    smoothings: Sequence[Smoothing],
    names: Sequence[str],
    read: Read,
    folder: Path,
    seed: int,
    log: Callable[[str], None],
    *,
    beside: Read | None = None,
    share: float = 0.0,
) -> tuple[list[SmoothedCodebook], Read]:
    """A codebook as large as each of the quantizers of one network, made in that network's space.

    Args:
        quantizers: that share all but their last layer.
        smoothings: of the codebooks, one for each quantizer.
        names: of clean features.
        read: features (T, D) by name, for the quantizers.
        folder: keeps what is done: ``space/`` and ``teachers/``.
        seed: of k-means.
        log: receives lines for people.
        beside: features (T, D) by name that the space has beside the network's, if ``share`` is above 0.
        share: of them in the variance of the space; each of its two parts is scaled as a whole.

    Returns:
        The codebooks, and the features (T, W), or (T, W + D), by name that they take.
    """
    first = quantizers[0]
    if not (folder / "space" / INDEX).is_file():
        found = _both(first, names, read, beside, share) if beside and share else partial(_network, first, read)
        width = found(names[0]).shape[1]
        layer = f"{first.spec.encoder.layer} + head"
        spec = msgspec.structs.replace(first.spec.encoder, dim=width, layer=layer)
        with FeatureWriter(folder / "space", spec) as writer:
            for name in names:
                writer.add(name, found(name))
    store = FeatureStore(folder / "space")
    made: dict[tuple[int, int], SmoothedCodebook] = {}
    answers = []
    for quantizer, smoothing in zip(quantizers, smoothings, strict=True):
        size = (quantizer.num_units, smoothing.frames)
        if size not in made:
            kept = folder / "teachers" / f"k-{size[0]}-frames-{size[1]}"
            if not (kept / SPEC_FILE).is_file():
                config = KMeansConfig(clusters=quantizer.num_units, seed=seed)
                items = partial(map, store.__getitem__, names)
                train_smoothed(items, Smoothing(smoothing.frames), config, store.spec, log).save(kept)
            made[size] = SmoothedCodebook.load(kept)
        answers.append(made[size].at_price(smoothing.price))
    return answers, store.__getitem__


def _network(quantizer: InvariantQuantizer, read: Read, name: str) -> NDArray[np.float32]:
    return quantizer.hidden(read(name))


def _both(
    quantizer: InvariantQuantizer, names: Sequence[str], read: Read, beside: Read, share: float
) -> Callable[[str], NDArray[np.float32]]:
    """What makes an item's frames of the network and the features beside it, each with its share of the variance."""
    parts: list[tuple[Callable[[str], NDArray[Any]], np.float32]] = []
    for part, weight in ((partial(_network, quantizer, read), 1 - share), (beside, share)):
        _, deviations = feature_statistics(part, names)
        parts.append((part, np.float32(np.sqrt(weight / np.sum(np.square(deviations, dtype=np.float64))))))

    def found(name: str) -> NDArray[np.float32]:
        return np.concatenate([np.asarray(part(name), np.float32) * scale for part, scale in parts], axis=1)

    return found
