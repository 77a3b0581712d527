"""Settings of concept models: what ``config.json`` holds. Torch-free."""

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
        width: W.
        heads: H, which divides W into even widths.
        feed_width: inside of the feed-forwards.
        layers: of the reader.
        dropout: of what layers add.
    """

    width: Size = 192
    heads: Size = 4
    feed_width: Size = 512
    layers: Layers = 3
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ConfigError(f"width {self.width} must be a multiple of twice the heads, {self.heads}")


class RegressionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="base"):
    """A linear map behind the reader; it has no settings."""


class TwoTowerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="two_tower"):
    """The tower that denoises.

    Attributes:
        layers: of it.
        schedule: of noise.
        blind: share of places that learn without what came before, for guidance.
        sampling: how concepts are made of noise.
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
            raise ConfigError("blind is 0, so that nothing is learnt to guide by; set sampling.guidance to 1")


class QuantizedConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="quantized"):
    """Books, and the tower that chooses in them.

    Attributes:
        foresees: codes: their probabilities; vectors: the concept, of which code vectors are chosen by distance.
        books: K.
        codes: C, of which the first of each book is the zero vector, so that no book makes anything worse.
        layers: of the tower.
        sharpness: beta of vectors: a code has the probability exp(-beta distance^2), up to a factor.
        temperature: divides log-probabilities of codes; 0 takes the likeliest.
    """

    foresees: Literal["codes", "vectors"] = "codes"
    books: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    codes: Annotated[int, msgspec.Meta(ge=2, le=65_536)] = 64
    layers: Layers = 4
    sharpness: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    temperature: Annotated[float, msgspec.Meta(ge=0)] = 1.0


VariantConfig = RegressionConfig | TwoTowerConfig | QuantizedConfig
"""Told by its ``type``: base, two_tower or quantized."""


class ConceptConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``config.json`` holds.

    Attributes:
        model_type: tells it from other checkpoints.
        encoder: whose frames a concept is the mean of.
        speaker_directions: taken out of concepts; see `ConceptSpace`.
        tower: sizes.
        variant: how the next concept is foreseen.
        context: most concepts that it was trained on at once.
    """

    model_type: Literal["speechkit-concept-lm"] = "speechkit-concept-lm"
    encoder: EncoderSpec
    speaker_directions: Annotated[int, msgspec.Meta(ge=0, le=4096)] = 16
    tower: TowerConfig = TowerConfig()
    variant: VariantConfig = RegressionConfig()
    context: Annotated[int, msgspec.Meta(ge=2, le=65_536)] = 128
