"""Settings of concept models, the contents of their ``config.json``. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError
from speechkit.nn.noise_schedule import SamplingSteps, ScheduleConfig

Size = Annotated[int, msgspec.Meta(ge=1, le=2**16)]
Layers = Annotated[int, msgspec.Meta(ge=1, le=256)]


class TowerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes of a model.

    Attributes:
        width: W, hidden width.
        heads: H, attention heads; W is a multiple of 2 H.
        feed_width: inner width of the feed-forward networks.
        layers: of the context encoder.
        dropout: on the output of each block.
    """

    width: Size = 192
    heads: Size = 4
    feed_width: Size = 512
    layers: Layers = 3
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ConfigError(
                f"width is {self.width} and heads {self.heads}; give a width that is a multiple of twice the heads"
            )


class RegressionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="base"):
    """A linear map of the context vectors; it has no settings."""


class TwoTowerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="two_tower"):
    """The denoising tower.

    Attributes:
        layers: of the tower.
        schedule: noise schedule.
        blind: share of positions trained without context, for classifier-free guidance.
        sampling: settings of sampling.
    """

    layers: Layers = 4
    schedule: ScheduleConfig = ScheduleConfig()
    blind: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.15
    sampling: SamplingSteps = SamplingSteps()

    def __post_init__(self) -> None:
        if self.sampling.steps > self.schedule.levels:
            raise ConfigError(
                f"sampling.steps is {self.sampling.steps} and schedule.levels {self.schedule.levels}; take fewer steps"
            )
        if not self.blind and self.sampling.guidance != 1:
            raise ConfigError("guidance needs positions trained without context; set blind > 0 or sampling.guidance=1")


class QuantizedConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="quantized"):
    """Residual codebooks and the tower that predicts their codes.

    Attributes:
        foresees: what the tower predicts: ``codes``, their probabilities; ``vectors``, the concept, whose codes are
            then chosen by distance.
        books: K, number of codebooks.
        codes: C, codes of a book; the first is the zero vector, so that no book increases the error.
        layers: of the tower.
        sharpness: beta for ``vectors``: a code's probability is proportional to exp(-beta distance^2).
        temperature: divides the log-probabilities of codes; 0 takes the likeliest.
    """

    foresees: Literal["codes", "vectors"] = "codes"
    books: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    codes: Annotated[int, msgspec.Meta(ge=2, le=65_536)] = 64
    layers: Layers = 4
    sharpness: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    temperature: Annotated[float, msgspec.Meta(ge=0)] = 1.0


VariantConfig = RegressionConfig | TwoTowerConfig | QuantizedConfig
"""Selected by ``type``: base, two_tower or quantized."""


class ConceptConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Contents of ``config.json``.

    Attributes:
        model_type: identifies the kind of checkpoint.
        encoder: encoder whose frames are averaged to a concept.
        speaker_directions: number removed from concepts; see `ConceptSpace`.
        tower: sizes.
        variant: how the next concept is predicted.
        context: maximum number of concepts in a training window.
    """

    model_type: Literal["speechkit-concept-lm"] = "speechkit-concept-lm"
    encoder: EncoderSpec
    speaker_directions: Annotated[int, msgspec.Meta(ge=0, le=4096)] = 16
    tower: TowerConfig = TowerConfig()
    variant: VariantConfig = RegressionConfig()
    context: Annotated[int, msgspec.Meta(ge=2, le=65_536)] = 128
