"""Settings of invariant quantizers: the shape of the network, and its training."""

from __future__ import annotations

from typing import Literal

import msgspec

from speechkit.errors import ConfigError
from speechkit.training.config import Precision

MOST_ROUNDS = 2


class LayerShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shape of copied transformer layers.

    Attributes:
        count: number of layers.
        width: of frames.
        heads: of attention.
        inner: width of the feed-forward layer.
        norm_first: layer norm before attention and feed-forward layer rather than after.
        epsilon: of the layer norms.
    """

    count: int
    width: int
    heads: int
    inner: int
    norm_first: bool
    epsilon: float = 1e-5


# Quantizers of version 0.2 name fields of kinds of heads that are no longer there, so unknown ones are ignored.
class HeadConfig(msgspec.Struct, frozen=True):
    """Shape of the head.

    Attributes:
        kind: residual depthwise-separable convolutions, the only kind.
        width: of hidden layers.
        layers: number of hidden layers.
        kernel: frames that a convolution sees, odd.
        dropout: in training.
        upper: shape of the copied encoder layers below the head; None without any.
    """

    kind: Literal["convolution"] = "convolution"
    width: int = 256
    layers: int = 2
    kernel: int = 13
    dropout: float = 0.25
    upper: LayerShape | None = None

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)}, it must be at least 1"
            for name in ("width", "layers", "kernel")
            if getattr(self, name) < 1
        ]
        if self.kernel % 2 == 0:
            wrong.append(f"kernel is {self.kernel}, it must be odd")
        if not 0 <= self.dropout < 1:
            wrong.append(f"dropout is {self.dropout}, it must lie from 0 to below 1")
        if wrong:
            raise ConfigError("; ".join(wrong))


class InvariantConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Training of invariant quantizers.

    Attributes:
        width: of the head.
        dropout: of the head.
        epochs: passes over the recordings in each round, one or two rounds; a pass takes one version of each recording.
            The first round is taught by k-means of the encoder, the second by k-means of the trained network.
        teacher_share: share of the encoder's features in the variance of the space that the second round clusters.
        batch_frames: maximum number of frames in a batch, padding included.
        learning_rate: peak, of the head.
        upper_rate: peak, of the copied encoder layers.
        frame_weight: weight of the framewise cross-entropy in the second half of a round; CTC has the rest. It falls
            linearly from 1 to this value in the first half.
        switch_penalty: cost in nats of switching unit between frames, in decoding.
        bigram_weight: weight of the unit bigram in decoding; 0 for none.
        precision: of training; ``auto`` is bfloat16 where the processor is faster with it.
    """

    width: int = 256
    dropout: float = 0.25
    epochs: tuple[int, ...] = (8, 16)
    teacher_share: float = 0.5
    batch_frames: int = 3000
    learning_rate: float = 2e-3
    upper_rate: float = 3e-4
    frame_weight: float = 0.5
    switch_penalty: float = 0.75
    bigram_weight: float = 0.2
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        wrong = []
        if not 1 <= len(self.epochs) <= MOST_ROUNDS or min(self.epochs) < 1:
            wrong.append(
                f"epochs are {list(self.epochs)}, they must be one or {MOST_ROUNDS} numbers of 1 or more, one a round"
            )
        wrong += [
            f"{name} is {getattr(self, name)}, it must be at least 1"
            for name in ("width", "batch_frames")
            if getattr(self, name) < 1
        ]
        if not 0 <= self.dropout < 1:
            wrong.append(f"dropout is {self.dropout}, it must lie from 0 to below 1")
        wrong += [
            f"{name} is {getattr(self, name)}, it must be above 0"
            for name in ("learning_rate", "upper_rate")
            if not getattr(self, name) > 0
        ]
        wrong += [
            f"{name} is {getattr(self, name)}, it must lie from 0 to 1"
            for name in ("teacher_share", "frame_weight")
            if not 0 <= getattr(self, name) <= 1
        ]
        wrong += [
            f"{name} is {getattr(self, name)}, it must be 0 or more"
            for name in ("switch_penalty", "bigram_weight")
            if not getattr(self, name) >= 0
        ]
        if wrong:
            raise ConfigError("; ".join(wrong))
