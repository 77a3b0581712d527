"""Configurations of flow-matching models of frames and of their sampling; imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.errors import ConfigError


class FlowConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of the transformer.

    Attributes:
        width: model width, W.
        layers: number of layers.
        heads: attention heads per layer.
        feed_width: inner width of the feed-forward layers.
        kernel: kernel size of the depthwise convolutions, odd.
        dropout: dropout rate of the residual branches.
        prediction: output of the network: the ``velocity``, or the ``data``, from which the velocity follows. A network
            narrower than a frame cannot pass noise through, but speech, which has structure, it can (Li and He 2025).
    """

    width: Annotated[int, msgspec.Meta(ge=4, le=8192)] = 256
    layers: Annotated[int, msgspec.Meta(ge=1, le=128)] = 6
    heads: Annotated[int, msgspec.Meta(ge=1, le=128)] = 4
    feed_width: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 1024
    kernel: Annotated[int, msgspec.Meta(ge=1, le=255)] = 7
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    prediction: Literal["velocity", "data"] = "velocity"

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads) or self.kernel % 2 == 0:
            raise ConfigError(
                f"width {self.width} must be a multiple of twice the heads, {self.heads}, and kernel {self.kernel} odd"
            )


class SamplingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How frames are sampled from noise.

    Attributes:
        steps: solver steps.
        solver: ``euler``, or ``midpoint``, which costs twice as much per step.
        sway: sway sampling coefficient: 0 for even steps, negative for more steps near the noise.
        guidance: strength of classifier-free guidance, which doubles the cost; 0 for none.
        temperature: scale of the noise; below 1 frames vary less.
    """

    steps: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 16
    solver: Literal["euler", "midpoint"] = "euler"
    sway: Annotated[float, msgspec.Meta(ge=-1, le=1)] = -1.0
    guidance: Annotated[float, msgspec.Meta(ge=0, le=20)] = 1.0
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] = 1.0


class BytesText(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="bytes", tag_field="kind"):
    """UTF-8 bytes through a transformer: any language, no vocabulary, nothing to download.

    Attributes:
        layers: number of transformer layers.
        kernel: kernel size of their convolutions, in bytes.
    """

    layers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    kernel: Annotated[int, msgspec.Meta(ge=1, le=255)] = 5


class CheckpointText(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="checkpoint", tag_field="kind"):
    """Last hidden states of a frozen text encoder from the transformers library.

    Attributes:
        name: hub id or folder; only the encoder of an encoder-decoder is used.
        dim: width of its hidden states.
    """

    name: str
    dim: Annotated[int, msgspec.Meta(ge=1, le=65536)]


TextConfig = BytesText | CheckpointText
