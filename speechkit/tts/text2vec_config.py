"""What text2vec is made of and how its losses are weighed; loads no torch."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError
from speechkit.nn.mel_spec import MelSpec
from speechkit.tts.text import TextConfig

FRAME_RATE = 50
"""Frames a second of the model."""

Count = Annotated[int, msgspec.Meta(ge=1, le=256)]
Width = Annotated[int, msgspec.Meta(ge=1, le=8192)]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Weight = Annotated[float, msgspec.Meta(ge=0)]


class Text2VecSizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How large the model is, and how it makes frames.

    Attributes:
        width: D.
        heads: of the attention.
        encoder_layers: over the symbols.
        decoder_layers: over the frames.
        feed_width: inside of the layers.
        kernel: of their convolutions, odd.
        aligner_width: of the space in which symbols and frames are compared.
        decoder: ``regression`` as in the paper, or ``flow``: frames are drawn, and differ by seed.
        steps: of the flow from noise to frames.
        guidance: how much of the text's influence is added to the flow once more.
        dropout: of layers and durations while training.
    """

    width: Width = 192
    heads: Count = 2
    encoder_layers: Count = 4
    decoder_layers: Count = 4
    feed_width: Width = 576
    kernel: Count = 5
    aligner_width: Width = 80
    decoder: Literal["regression", "flow"] = "regression"
    steps: Count = 8
    guidance: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    dropout: Share = 0.1

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads) or self.kernel % 2 == 0:
            raise ConfigError(
                f"width {self.width}, heads {self.heads} and kernel {self.kernel}: the width must be a multiple of "
                "twice the heads, and the kernel odd"
            )


class Text2VecConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="text2vec", tag_field="model_type"):
    """All that rebuilds the model.

    Attributes:
        text: the language and its symbols.
        mel: of the log-mel frames that it makes, where there is no ``encoder``.
        encoder: whose frames it makes.
        speakers: their names, where there are several.
        sizes: of the network.
    """

    text: TextConfig
    mel: MelSpec = MelSpec()
    encoder: EncoderSpec | None = None
    speakers: tuple[str, ...] = ()
    sizes: Text2VecSizes = Text2VecSizes()

    def __post_init__(self) -> None:
        if not self.text.symbols:
            raise ConfigError("text.symbols is empty; a model needs the symbols that it knows")
        if self.target.frame_rate % FRAME_RATE:
            raise ConfigError(
                f"the target has {self.target.frame_rate:g} frames a second; give one with {FRAME_RATE} or a multiple"
            )

    @property
    def target(self) -> MelSpec | EncoderSpec:
        """What the frames are, for a vocoder to agree with."""
        return self.encoder or self.mel

    @property
    def stacked(self) -> int:
        """Frames of the target side by side in one frame of this model."""
        return round(self.target.frame_rate / FRAME_RATE)

    @property
    def frame_width(self) -> int:
        """F."""
        return self.stacked * (self.encoder.dim if self.encoder else self.mel.channels)


class LossWeights(msgspec.Struct, frozen=True):
    """How much each loss counts beside that of the frames.

    Attributes:
        durations: squared error of the logarithm of durations.
        alignment: `forward_sum_loss`.
        binarisation: `binarisation_loss`, when it has come in whole.
        binarised_from: step from which it comes in.
        binarised_by: step at which it has.
        no_text: items of the flow that learn without text, for its guidance.
    """

    durations: Weight = 0.2
    alignment: Weight = 1.0
    binarisation: Weight = 0.3
    binarised_from: Annotated[int, msgspec.Meta(ge=0)] = 500
    binarised_by: Annotated[int, msgspec.Meta(ge=0)] = 1500
    no_text: Share = 0.1

    def binarised(self, number: int) -> float:
        """The share of binarisation at a step."""
        over = max(self.binarised_by - self.binarised_from, 1)
        return min(max((number - self.binarised_from) / over, 0.0), 1.0)
