"""Configuration of text2vec and the weights of its losses; imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError
from speechkit.nn.mel_spec import MelSpec
from speechkit.tts.text import TextConfig

FRAME_RATE = 50
"""Frames per second of the model."""

Count = Annotated[int, msgspec.Meta(ge=1, le=256)]
Width = Annotated[int, msgspec.Meta(ge=1, le=8192)]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Weight = Annotated[float, msgspec.Meta(ge=0)]


class Text2VecSizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of the model, and its decoder.

    Attributes:
        width: model width, D.
        heads: attention heads per layer.
        encoder_layers: layers over the symbols.
        decoder_layers: layers over the frames.
        feed_width: inner width of the feed-forward layers.
        kernel: kernel size of their convolutions, odd.
        aligner_width: dimension of the aligner's queries and keys.
        decoder: ``regression`` as in the paper, or ``flow``, which samples frames that differ by seed.
        steps: solver steps of the flow.
        guidance: strength of classifier-free guidance of the flow.
        dropout: dropout rate of the layers and the duration predictor.
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
    """Configuration of a text2vec model.

    Attributes:
        text: the language and its symbols.
        mel: the log-mel frames that it predicts if there is no ``encoder``.
        encoder: the encoder whose frames it predicts.
        speakers: names of the speakers of a multi-speaker model.
        sizes: sizes of the network.
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
                f"the target has {self.target.frame_rate:g} frames a second; give one with a multiple of {FRAME_RATE}"
            )

    @property
    def target(self) -> MelSpec | EncoderSpec:
        """Specification of the frames, which a vocoder must match."""
        return self.encoder or self.mel

    @property
    def stacked(self) -> int:
        """Target frames stacked in one frame of this model."""
        return round(self.target.frame_rate / FRAME_RATE)

    @property
    def frame_width(self) -> int:
        """Width of a stacked target frame, F."""
        return self.stacked * (self.encoder.dim if self.encoder else self.mel.channels)


class LossWeights(msgspec.Struct, frozen=True):
    """Weights of the losses relative to that of the frames.

    Attributes:
        durations: weight of the squared error of log durations.
        alignment: weight of `forward_sum_loss`.
        binarisation: final weight of `binarisation_loss`.
        binarised_from: step at which the binarisation loss begins to ramp up.
        binarised_by: step at which it reaches its full weight.
        no_text: share of items trained without text, for the flow's guidance.
    """

    durations: Weight = 0.2
    alignment: Weight = 1.0
    binarisation: Weight = 0.3
    binarised_from: Annotated[int, msgspec.Meta(ge=0)] = 500
    binarised_by: Annotated[int, msgspec.Meta(ge=0)] = 1500
    no_text: Share = 0.1

    def binarised(self, number: int) -> float:
        """Ramp of the binarisation loss at a step, 0 to 1."""
        steps = max(self.binarised_by - self.binarised_from, 1)
        return min(max((number - self.binarised_from) / steps, 0.0), 1.0)
