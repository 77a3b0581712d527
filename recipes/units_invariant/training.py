"""Train invariant quantizers: stage 5 and its settings."""

from __future__ import annotations

from typing import Annotated

from speechkit.encoders.store import FeatureStore
from speechkit.pipeline import SHARED, Context, Interrupted
from speechkit.units.invariant.config import InvariantConfig
from speechkit.units.invariant.records import Plan, size_folder
from speechkit.units.invariant.versions import versions_of
from speechkit.units.stages import Count

UPPER_DROPOUT = 0.1
"""In the copied layers, as most encoders were pre-trained."""


class TrainConfig(InvariantConfig, frozen=True):
    """The network and its training; the quantizers of all K share one network.

    Attributes:
        encoder: name or folder.
        begin_layer: whose features the network takes.
        upper_layers: number of the encoder's layers above it that are copied and fine-tuned below the head; 0 for none.
    """

    encoder: Annotated[str, SHARED] = "embedded"
    begin_layer: Annotated[Count, SHARED] = 0
    upper_layers: Count = 4


def train_quantizers(context: Context) -> None:
    """A quantizer for each K."""
    from speechkit.units.invariant.training import train_invariant
    from speechkit.units.invariant.upper_layers import copy_upper_layers
    from speechkit.units.smoothed import SmoothedCodebook

    config, features = context.config, context.inputs["features"]
    plan = Plan.read(context.inputs["teachers"])
    folders = [size_folder(clusters) for clusters in plan.clusters]
    store = FeatureStore(features, config.begin_layer, "train")
    upper = None
    if config.upper_layers:
        upper = copy_upper_layers(config.encoder, config.begin_layer, config.upper_layers, UPPER_DROPOUT)
    result = train_invariant(
        [SmoothedCodebook.load(context.inputs["teachers"] / folder) for folder in folders],
        versions_of(store.ids()),
        store.__getitem__,
        config,
        context.scratch / "rounds",
        upper=upper,
        encoder=store.spec,
        teacher_features=FeatureStore(features, plan.layer, "train").__getitem__,
        seed=context.seed % 2**31,
        device=context.device,
        should_stop=lambda: context.interrupted,
        log=context.log,
    )
    if result is None:
        raise Interrupted
    if any(result.left_out):
        counts = ", ".join(map(str, result.left_out))
        context.log(f"versions with fewer frames than targets, by round: {counts} of {result.versions}")
    for folder, quantizer in zip(folders, result.quantizers, strict=True):
        quantizer.save(context.output("quantizers") / folder)
