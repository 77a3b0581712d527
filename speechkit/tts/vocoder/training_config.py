"""Settings of a vocoder's training beside the loop's; loads no torch."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.errors import ConfigError

Count = Annotated[int, msgspec.Meta(ge=1)]
Weight = Annotated[float, msgspec.Meta(ge=0)]


class DiscriminatorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Discriminators and their sizes.

    Attributes:
        periods: in samples; WavThruVec adds 13, 17 and 19.
        period_channels: of the convolutions of each period.
        resolutions: FFT sizes of spectrograms.
        resolution_channels: of the convolutions of each resolution.
    """

    periods: tuple[Count, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[Count, ...] = (32, 128, 512, 1024, 1024)
    resolutions: tuple[Count, ...] = (2048, 1024, 512)
    resolution_channels: Count = 32

    def __post_init__(self) -> None:
        if not self.periods and not self.resolutions:
            raise ConfigError("discriminators have neither periods nor resolutions; give some of one")
        if not self.period_channels or any(size % 8 for size in self.resolutions):
            raise ConfigError(
                f"period_channels {list(self.period_channels)} must not be empty and resolutions "
                f"{list(self.resolutions)} be multiples of 8"
            )


class LossConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights of a generator's losses.

    Attributes:
        mel: mean distance of log-mel frames.
        stft: spectral convergence and mean distance of log magnitudes, over several resolutions.
        stft_resolutions: FFT sizes of these.
        adversarial: what discriminators by periods say.
        resolution: what those by resolutions say, in relation to that.
        features: mean distance of the discriminators' features.
        kind: ``hinge`` or ``least-squares``.
    """

    mel: Weight = 45.0
    stft: Weight = 0.0
    stft_resolutions: tuple[Count, ...] = (256, 512, 1024)
    adversarial: Weight = 1.0
    resolution: Weight = 0.1
    features: Weight = 1.0
    kind: Literal["hinge", "least-squares"] = "hinge"


class CropConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pieces of recordings that a step learns from.

    Attributes:
        items: a batch.
        seconds: of each; a multiple of 20 ms.
        reference_seconds: of another piece of the recording, which says who speaks, for vocoders with a speaker.
    """

    items: Count = 16
    seconds: Annotated[float, msgspec.Meta(ge=0.2)] = 1.0
    reference_seconds: Annotated[float, msgspec.Meta(ge=0.5)] = 3.0
