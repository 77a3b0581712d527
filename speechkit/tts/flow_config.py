"""What models of frames by flow matching are made of, and how they are sampled; loads no torch."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.errors import ConfigError


class FlowConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The transformer's shape.

    Attributes:
        width: W.
        layers: of the transformer.
        heads: of each.
        feed_width: inside of the feed-forwards.
        kernel: frames of the depthwise convolutions, odd.
        dropout: of what layers add.
    """

    width: Annotated[int, msgspec.Meta(ge=4, le=8192)] = 256
    layers: Annotated[int, msgspec.Meta(ge=1, le=128)] = 6
    heads: Annotated[int, msgspec.Meta(ge=1, le=128)] = 4
    feed_width: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 1024
    kernel: Annotated[int, msgspec.Meta(ge=1, le=255)] = 7
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads) or self.kernel % 2 == 0:
            raise ConfigError(
                f"width {self.width} must be a multiple of twice the heads, {self.heads}, and kernel {self.kernel} odd"
            )


class SamplingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How frames are made of noise.

    Attributes:
        steps: of the solver.
        solver: ``euler``, or ``midpoint`` for twice the work a step.
        sway: of the times, 0 for even steps; below it more of them near the noise.
        guidance: strength of classifier-free guidance, 0 for none; it doubles the work.
        temperature: of the noise; below 1 frames vary less.
    """

    steps: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 16
    solver: Literal["euler", "midpoint"] = "euler"
    sway: Annotated[float, msgspec.Meta(ge=-1, le=1)] = -1.0
    guidance: Annotated[float, msgspec.Meta(ge=0, le=20)] = 1.0
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] = 1.0


class BytesText(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="bytes", tag_field="kind"):
    """UTF-8 bytes: any language, no vocabulary, nothing to fetch.

    ``layers`` of the transformer over them, each with a convolution of ``kernel`` bytes.
    """

    layers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    kernel: Annotated[int, msgspec.Meta(ge=1, le=255)] = 5


class CheckpointText(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="checkpoint", tag_field="kind"):
    """The last states of a text encoder of transformers, which does not learn.

    Attributes:
        name: hub id or folder; of encoder-decoders the encoder is taken.
        dim: width of its states.
    """

    name: str
    dim: Annotated[int, msgspec.Meta(ge=1, le=65536)]


TextConfig = BytesText | CheckpointText
