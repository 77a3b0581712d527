"""New target units for invariant quantizers: k-means clusters of a trained network's output on clean speech.

A network that was taught to say the same of changed and of clean audio keeps what both share and loses what tells them
apart. Its own space is therefore cut into units that are harder to change than those of the encoder's space. Units of
that space alone tell words apart a little less well; those of both spaces together do not.

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
    beside: Read | None = None,
    shares: Sequence[float] = (),
    further_seeds: Sequence[int] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> list[tuple[SmoothedCodebook, Read]]:
    """A codebook as large as each of the quantizers of one network, made in that network's space.

    Args:
        quantizers: that share all but their last layer.
        smoothings: of the codebooks, one for each quantizer.
        names: of clean features.
        read: features (T, D) by name, for the quantizers.
        folder: keeps what is done: ``space/`` and ``teachers/``.
        seed: of k-means.
        log: receives lines for people.
        beside: features (T, D) by name that the space has beside the network's, where a share is above 0.
        shares: of them in the variance of the space, one for each quantizer; each of the two parts is scaled as a
            whole. Without any it is the network's space alone.
        further_seeds: added to the seed, one for each quantizer; 0 where there are none.
        should_stop: asked before every item and every codebook.

    Returns:
        Each codebook with the features (T, W), or (T, W + D), by name that it takes.

    Raises:
        Stopped: if it was asked to.
    """
    network = _network_space(quantizers[0], names, read, folder / "space", should_stop)
    spaces: dict[float, tuple[EncoderSpec, Read]] = {0.0: (network.spec, network.__getitem__)}
    made: dict[tuple[int, int, float, int], SmoothedCodebook] = {}
    answers = []
    none = [0] * len(quantizers)
    for quantizer, smoothing, share, further in zip(
        quantizers, smoothings, shares or none, further_seeds or none, strict=True
    ):
        if share not in spaces:
            if beside is None:
                raise ValueError("a share needs features beside the network's")
            spaces[share] = _both(network, names, beside, share)
        spec, found = spaces[share]
        size = (quantizer.num_units, smoothing.frames, share, further)
        if size not in made:
            if should_stop():
                raise Stopped
            name = f"k-{quantizer.num_units}-frames-{smoothing.frames}"
            name += (f"-share-{share:g}" if share else "") + (f"-seed-{further}" if further else "")
            kept = folder / "teachers" / name
            if not (kept / SPEC_FILE).is_file():
                config = KMeansConfig(clusters=quantizer.num_units, seed=seed + further)
                train_smoothed(partial(map, found, names), Smoothing(smoothing.frames), config, spec, log).save(kept)
            made[size] = SmoothedCodebook.load(kept)
        answers.append((made[size].at_price(smoothing.price), found))
    return answers


def _network_space(
    quantizer: InvariantQuantizer, names: Sequence[str], read: Read, folder: Path, should_stop: Callable[[], bool]
) -> FeatureStore:
    """What the network makes of clean features, kept in a folder."""
    if not (folder / INDEX).is_file():
        encoder = quantizer.spec.encoder
        width = quantizer.head.leave.in_features
        spec = msgspec.structs.replace(encoder, dim=width, layer=f"{encoder.layer} + head")
        with FeatureWriter(folder, spec, resume=True) as writer:
            for name in names:
                if should_stop():
                    raise Stopped
                if name not in writer:
                    writer.add(name, quantizer.hidden(read(name)))
    return FeatureStore(folder)


def _both(network: FeatureStore, names: Sequence[str], beside: Read, share: float) -> tuple[EncoderSpec, Read]:
    """What makes an item's frames of the network and the features beside it, each with its share of the variance."""
    parts: list[tuple[Read, np.float32]] = []
    dim = 0
    for part, weight in ((network.__getitem__, 1 - share), (beside, share)):
        _, deviations = feature_statistics(part, names)
        parts.append((part, np.float32(np.sqrt(weight / np.sum(np.square(deviations, dtype=np.float64))))))
        dim += len(deviations)

    def found(name: str) -> NDArray[np.float32]:
        return np.concatenate([np.asarray(part(name), np.float32) * scale for part, scale in parts], axis=1)

    return msgspec.structs.replace(network.spec, dim=dim), found
