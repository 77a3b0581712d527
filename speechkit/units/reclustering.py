"""New units for invariant quantizers to learn: clusters of what a trained network makes of clean speech.

A network that was taught to say the same of changed and of clean audio keeps what both share and loses what tells them
apart. Its own space is therefore cut into units that are harder to change than those of the encoder's space.

Source: Hsu et al. 2021, HuBERT, section II.B: every iteration clusters the features of the network before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

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
) -> tuple[list[SmoothedCodebook], Read]:
    """A codebook as large as each of the quantizers of one network, made in that network's space.

    Args:
        quantizers: that share all but their last layer.
        smoothings: of the codebooks, one for each quantizer.
        names: of clean features.
        read: features (T, D) by name, for the quantizers.
        folder: keeps what is done: ``hidden/`` and ``teachers/``.
        seed: of k-means.
        log: receives lines for people.

    Returns:
        The codebooks, and the features (T, W) by name that they take.
    """
    first = quantizers[0]
    width, layer = first.head.leave.in_features, first.spec.encoder.layer
    if not (folder / "hidden" / INDEX).is_file():
        spec = msgspec.structs.replace(first.spec.encoder, dim=width, layer=f"{layer} + head")
        with FeatureWriter(folder / "hidden", spec) as writer:
            for name in names:
                writer.add(name, first.hidden(read(name)))
    store = FeatureStore(folder / "hidden")
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
