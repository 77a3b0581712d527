"""Targets of the second round: k-means of a trained network's output on clean speech.

A network that was taught to give the same output for perturbed and for clean audio keeps what both share, so clusters
of its space change less than those of the encoder's. Clusters of that space alone discriminate words a little less
well; those of the network's output joined with the encoder's features do not.

Source: Hsu et al. 2021, HuBERT, section II.B: every iteration clusters the features of the network before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.feature_statistics import feature_statistics
from speechkit.encoders.feature_writer import INDEX, FeatureWriter
from speechkit.encoders.spec import EncoderSpec
from speechkit.encoders.store import FeatureStore
from speechkit.units.invariant.batches import Read
from speechkit.units.invariant.quantizer import InvariantQuantizer
from speechkit.units.kmeans import KMeansConfig
from speechkit.units.smoothed import SPEC_FILE, SmoothedCodebook, Smoothing, train_smoothed


class Stopped(Exception):  # noqa: N818 - an end, not an error
    """The caller was asked to stop; what is done stays in the folder, and the next call goes on from there."""


def recluster(
    quantizers: Sequence[InvariantQuantizer],
    smoothings: Sequence[Smoothing],
    names: Sequence[str],
    read: Read,
    folder: Path,
    seed: int,
    log: Callable[[str], None],
    *,
    encoder_features: Read,
    share: float,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[list[SmoothedCodebook], Read]:
    """A codebook for each quantizer of one network, with as many units, made in that network's space.

    Args:
        quantizers: share all but their classifiers.
        smoothings: of the codebooks, one for each quantizer.
        names: of clean features.
        read: features (T, D) by name, for the quantizers.
        folder: keeps intermediate results: ``space/`` and ``teachers/``.
        seed: of k-means.
        log: receives lines for people.
        encoder_features: features (T, E) by name that are joined with the network's output where ``share`` is above 0.
        share: of these features in the variance of the space; each of the two parts is scaled as a whole.
        should_stop: asked before every item and every codebook.

    Returns:
        The codebooks, and the features (T, W) or (T, W + E) by name that they take.

    Raises:
        Stopped: if it was asked to.
    """
    network = _network_space(quantizers[0], names, read, folder / "space", should_stop)
    spec, space = _joined(network, names, encoder_features, share) if share else (network.spec, network.__getitem__)
    codebooks = []
    for quantizer, smoothing in zip(quantizers, smoothings, strict=True):
        if should_stop():
            raise Stopped
        kept = folder / "teachers" / f"k-{quantizer.num_units}"
        if not (kept / SPEC_FILE).is_file():
            config = KMeansConfig(clusters=quantizer.num_units, seed=seed)
            train_smoothed(partial(map, space, names), smoothing, config, spec, log).save(kept)
        codebooks.append(SmoothedCodebook.load(kept))
    return codebooks, space


def _network_space(
    quantizer: InvariantQuantizer, names: Sequence[str], read: Read, folder: Path, should_stop: Callable[[], bool]
) -> FeatureStore:
    """The network's output on clean features, kept in a folder."""
    if not (folder / INDEX).is_file():
        encoder = quantizer.spec.encoder
        width = quantizer.head.classifier.in_features
        spec = msgspec.structs.replace(encoder, dim=width, layer=f"{encoder.layer} + head")
        with FeatureWriter(folder, spec, resume=True) as writer:
            for name in names:
                if should_stop():
                    raise Stopped
                if name not in writer:
                    writer.add(name, quantizer.hidden(read(name)))
    return FeatureStore(folder)


def _joined(
    network: FeatureStore, names: Sequence[str], encoder_features: Read, share: float
) -> tuple[EncoderSpec, Read]:
    """The network's output joined with the encoder's features, each with its share of the variance."""
    parts: list[tuple[Read, np.float32]] = []
    dim = 0
    for part, weight in ((network.__getitem__, 1 - share), (encoder_features, share)):
        _, deviations = feature_statistics(part, names)
        parts.append((part, np.float32(np.sqrt(weight / np.sum(np.square(deviations, dtype=np.float64))))))
        dim += len(deviations)

    def joined(name: str) -> NDArray[np.float32]:
        return np.concatenate([np.asarray(part(name), np.float32) * scale for part, scale in parts], axis=1)

    return msgspec.structs.replace(network.spec, dim=dim), joined
