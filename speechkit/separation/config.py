"""Settings of what a separator minimises; loads no torch."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.errors import ConfigError

Ratio = Literal["si-sdr", "snr"]


class SeparationLoss(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How estimates are compared with sources.

    Attributes:
        ratio: ``si-sdr`` does not ask how loud an estimate is. ``snr`` does, so that tracks keep the sources' levels;
            it also pays there to leave a track empty, which a separator that begins must first unlearn.
        limit_db: ratios beyond it teach nothing more; it is also how far below what is heard a silent track shall be.
        silent_weight: of the tracks in which nobody speaks.
        spectral_weight: of the differences of magnitudes; 0 leaves them out.
        windows: of their spectra, in samples, a power of two each.
    """

    ratio: Ratio = "si-sdr"
    limit_db: float = 30.0
    silent_weight: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    spectral_weight: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    windows: tuple[int, ...] = (128, 256, 512)

    def __post_init__(self) -> None:
        if self.limit_db <= 0:
            raise ConfigError(f"limit_db is {self.limit_db:g}; it must be above 0")
        if wrong := [window for window in self.windows if window < 16 or window & (window - 1)]:
            raise ConfigError(f"windows holds {wrong[0]}; give powers of two from 16 on")
