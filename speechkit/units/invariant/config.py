"""Settings of invariant quantizers: the shape of the network, and its training."""

from __future__ import annotations

from typing import Literal

import msgspec

from speechkit.errors import ConfigError
from speechkit.training.config import Precision

NextRound = Literal["fresh", "clusters", "same"]
Learns = Literal["all", "head", "units"]


def each_of(given: float | tuple[float, ...], teachers: int) -> tuple[float, ...]:
    """One number for each of so many teachers; as many as are given, where they are several."""
    return given if isinstance(given, tuple) else (given,) * teachers


class LayerShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds the layers.

    Attributes:
        count: of layers.
        width: of frames.
        heads: of attention.
        inner: width between the two linear maps of a layer.
        norm_first: the norms stand before attention and linear maps, not behind.
        epsilon: of the norms.
    """

    count: int
    width: int
    heads: int
    inner: int
    norm_first: bool
    epsilon: float = 1e-5


class HeadConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The head's shape.

    Attributes:
        kind: ``linear`` and ``mlp`` look at one frame; ``convolution`` at ``kernel`` frames in every layer;
            ``transformer`` at the whole item, or a window of it.
        width: of hidden layers.
        layers: hidden layers.
        kernel: frames that a convolution sees, odd.
        heads: of the attention.
        dropout: while training.
        upper: of the encoder's layers that come first; None where there are none.
    """

    kind: Literal["linear", "mlp", "convolution", "transformer"] = "convolution"
    width: int = 192
    layers: int = 2
    kernel: int = 13
    heads: int = 4
    dropout: float = 0.1
    upper: LayerShape | None = None

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)}, it must be at least 1"
            for name in ("width", "layers", "kernel", "heads")
            if getattr(self, name) < 1
        ]
        if self.kernel % 2 == 0:
            wrong.append(f"kernel is {self.kernel}, it must be odd")
        if self.heads > 0 and self.width % self.heads:
            wrong.append(f"width {self.width} does not divide into {self.heads} heads")
        if not 0 <= self.dropout < 1:
            wrong.append(f"dropout is {self.dropout}, it must lie from 0 to below 1")
        if wrong:
            raise ConfigError("; ".join(wrong))


class InvariantConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to train.

    Attributes:
        head: its shape.
        epochs: passes over the items, of each round of training; a pass takes one version of each item, and none twice
            before all. Every round is taught by what came out of the one before. Without rounds, quantizers of an
            earlier training stay as they are and are read with the price and the bigram that are asked for here.
        next_round: what a round does with the heads before it. ``fresh``, as published: a new network learns the units
            that they give clean speech. ``clusters``: their network is trained on, and what it learns are clusters that
            k-means finds in its space. ``same``: it is trained on with the units that they give.
        recluster_share: of the first teachers' features in the variance of the space in which clusters are found,
            the rest being the network's; with 0 its space alone. Several are of one teacher each.
        recluster_seed: added to the seed of k-means in that space, to look for other clusters: what it finds, and how
            well it tells words apart, depends on where it begins. Several are of one teacher each.
        batch_frames: most frames of a batch, padding included.
        learning_rate: the peak.
        upper_rate: that of the encoder's own layers, where the heads begin with some.
        learns: ``all`` of the network; the ``head``, on the encoder's layers as they are; or, of a network that was
            trained before, the last linear maps alone, those to ``units``. What stays takes a fraction of the time.
        warmup_share: of the steps in which the rate rises.
        frame_share: of the steps in which the weight of the frames' loss falls from 1, CTC having the rest.
        frame_weight: what it falls to; with both 0 there is nothing but CTC, as published, and with 1 there is no CTC.
        precision: ``bf16`` trains in less time where the processor is faster with it, ``auto`` takes it only there.
        time_masks: stretches of features set to the mean, of each item and pass.
        mask_frames: their greatest length.
        price: of a change of unit, of the quantizer that is made and of the heads that teach on the way. Several are of
            one teacher each.
        bigram_weight: in the same reading, of the bigram of the units that they give clean speech at that price: so
            many times its logarithm, a change to what often follows costs less. Several are of one teacher each.
    """

    head: HeadConfig = HeadConfig()
    epochs: tuple[int, ...] = (10, 10)
    next_round: NextRound = "fresh"
    recluster_share: float | tuple[float, ...] = 0.0
    recluster_seed: int | tuple[int, ...] = 0
    batch_frames: int = 3000
    learning_rate: float = 2e-3
    upper_rate: float = 3e-4
    learns: Learns = "all"
    warmup_share: float = 0.1
    frame_share: float = 0.5
    frame_weight: float = 0.0
    precision: Precision = "no"
    time_masks: int = 0
    mask_frames: int = 10
    price: float | tuple[float, ...] = 0.0
    bigram_weight: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        wrong = []
        if min(self.epochs, default=1) < 1:
            wrong.append(f"epochs are {list(self.epochs)}, they must be a number of 1 or more for each round")
        if self.batch_frames < 1:
            wrong.append(f"batch_frames is {self.batch_frames}, it must be at least 1")
        wrong += [
            f"{name} is {getattr(self, name)}, it must be above 0"
            for name in ("learning_rate", "upper_rate")
            if not getattr(self, name) > 0
        ]
        if self.learns == "units" and self.next_round == "fresh":
            wrong.append("learns is units, and next_round fresh has no network to learn them on; take clusters or same")
        wrong += [
            f"{name} is {getattr(self, name)}, it must lie from 0 to 1"
            for name in ("warmup_share", "frame_share", "frame_weight")
            if not 0 <= getattr(self, name) <= 1
        ]
        wrong += [
            f"recluster_share is {share}, it must lie from 0 to 1"
            for share in each_of(self.recluster_share, 1)
            if not 0 <= share <= 1
        ]
        wrong += [
            f"{name} is {number}, it must be 0 or more"
            for name in ("recluster_seed", "time_masks", "mask_frames", "price", "bigram_weight")
            for number in each_of(getattr(self, name), 1)
            if not number >= 0
        ]
        if wrong:
            raise ConfigError("; ".join(wrong))
