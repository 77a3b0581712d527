"""Settings of the separation loss; imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.errors import ConfigError

Ratio = Literal["si-sdr", "snr"]


class SeparationLoss(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the separation loss.

    Attributes:
        ratio: ``si-sdr`` ignores the level of an estimate. ``snr`` does not, so that tracks keep the sources' levels,
            but early in training it rewards empty tracks, which the network must first unlearn.
        limit_db: ratios above this give no gradient; also the target level of silent tracks below the mixture.
        silent_weight: weight of the loss of tracks without a speaker.
        spectral_weight: weight of the spectral magnitude loss; 0 to disable it.
        windows: FFT sizes of that loss in samples, powers of two.
    """

    ratio: Ratio = "si-sdr"
    limit_db: float = 30.0
    silent_weight: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    spectral_weight: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    windows: tuple[int, ...] = (128, 256, 512)

    def __post_init__(self) -> None:
        if self.limit_db <= 0:
            raise ConfigError(f"limit_db is {self.limit_db:g}; give a number above 0")
        if wrong := [window for window in self.windows if window < 16 or window & (window - 1)]:
            raise ConfigError(f"windows holds {wrong[0]}; give powers of two of at least 16")
