"""Train invariant quantizers: stage 5 and its settings."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from speechkit.encoders.store import FeatureStore
from speechkit.errors import ConfigError
from speechkit.pipeline import SHARED, Context, Interrupted
from speechkit.units.invariant.config import InvariantConfig
from speechkit.units.invariant.records import Plan
from speechkit.units.invariant.versions import Repeats, versions_of
from speechkit.units.stages import Count, Positive

if TYPE_CHECKING:
    from speechkit.units.invariant.quantizer import InvariantQuantizer

EMBEDDED = "embedded"
"""The quantizers inside the package, as what training starts from."""


class TrainConfig(msgspec.Struct, frozen=True):
    """The heads; those of one layer are trained together, one for each K and teacher.

    Attributes:
        begin_layer: the layer whose features the heads take, if it is not the teacher's own: the heads then begin with
            copies of the encoder's ``upper_layers`` layers behind it and train them along.
        upper_layers: how many.
        upper_dropout: in the copies, while training.
        start: a folder that ``scripts/pack_quantizers.py`` made, or ``embedded``: training goes on from those
            quantizers, as if the last of their rounds had been the one before.
        repeats: how often each drawing of a change is among the versions that passes take in turn; more for the changes
            that heads shall learn more from. Those with 0 are left out.
        invariant: the training.
    """

    encoder: Annotated[str, SHARED] = "embedded"
    begin_layer: Annotated[Count | None, SHARED] = None
    upper_layers: Positive = 2
    upper_dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    start: str | None = None
    repeats: Repeats = Repeats()
    invariant: InvariantConfig = InvariantConfig()

    def __post_init__(self) -> None:
        if not self.invariant.epochs and self.start is None:
            raise ConfigError("train.invariant.epochs is empty and there is no train.start; give one of them")
        if self.invariant.learns == "units" and self.start is None:
            raise ConfigError(
                "train.invariant.learns is units and there is no train.start, whose network stays; give it"
            )


def train_quantizers(context: Context) -> None:
    """A quantizer for each layer, K and teacher; layers that are done survive an interruption."""
    plan = Plan.read(context.inputs["teachers"])
    start = _start(context.config, plan)
    for layer in plan.layers:
        folders = plan.folders(layer)
        done = context.scratch / "done"
        if not all((done / folder / "quantizer.json").is_file() for folder in folders):
            for folder, quantizer in zip(folders, _trained(context, layer, folders, start), strict=True):
                quantizer.save(done / folder)
        for folder in folders:
            shutil.copytree(done / folder, context.output("quantizers") / folder)


def _trained(
    context: Context, layer: int, folders: Sequence[str], start: list[InvariantQuantizer]
) -> list[InvariantQuantizer]:
    """All of a layer."""
    from speechkit.units.invariant.training import train_invariant
    from speechkit.units.invariant.upper_layers import copy_upper_layers
    from speechkit.units.smoothed import SmoothedCodebook

    config, features = context.config, context.inputs["features"]
    begin = layer if config.begin_layer is None else config.begin_layer
    store = FeatureStore(features, begin, "train")
    upper = None
    if config.begin_layer is not None:
        upper = copy_upper_layers(config.encoder, begin, config.upper_layers, config.upper_dropout)
    result = train_invariant(
        [SmoothedCodebook.load(context.inputs["teachers"] / folder) for folder in folders],
        versions_of(store.ids(), config.repeats),
        store.__getitem__,
        config.invariant,
        context.scratch / "rounds" / f"layer-{layer}",
        upper=upper,
        encoder=store.spec,
        start=start,
        teach=FeatureStore(features, layer, "train").__getitem__,
        seed=context.seed % 2**31,
        device=context.device,
        should_stop=lambda: context.interrupted,
        log=lambda line: context.log(f"layer {layer}, {line}"),
    )
    if result is None:
        raise Interrupted
    if result.left_out:
        context.log(
            f"layer {layer}: versions too short for their targets, by round: "
            f"{', '.join(map(str, result.left_out))} of {result.versions}"
        )
    return result.quantizers


def _start(config: TrainConfig, plan: Plan) -> list[InvariantQuantizer]:
    """What training goes on from: one for each K and teacher.

    Raises:
        ConfigError: if there are several teachers that would all be taught the same.
    """
    from speechkit.units.embedded import unpack

    if config.start is None:
        return []
    if len(plan.teachers) > 1 and not (config.invariant.epochs and config.invariant.next_round == "clusters"):
        raise ConfigError(
            f"start has one quantizer for each K, whose units are the same for all {len(plan.teachers)} teachers; "
            "name one teacher, or have new clusters learned (train.invariant.next_round=clusters)"
        )
    folder = _start_folder(config.start)
    begun = [unpack(str(clusters), folder) for clusters in plan.clusters]
    return [quantizer for quantizer in begun for _ in plan.teachers]


def start_digest(start: str) -> str:
    """Digest of the quantizers of a folder."""
    from speechkit.units.embedded import packed_digest

    return packed_digest(_start_folder(start))


def _start_folder(start: str) -> Path:
    from speechkit.units.embedded import MODELS

    return MODELS if start == EMBEDDED else Path(start)
