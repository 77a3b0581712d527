"""The parameters of a log-mel spectrogram that a synthesizer and a vocoder must agree on; loads no torch."""

from __future__ import annotations

from typing import Annotated

import msgspec

from speechkit.errors import ConfigError, UserError

Samples = Annotated[int, msgspec.Meta(ge=1, le=2**15)]
"""The bound, and that of channels, keep the filters of a hostile configuration from taking the memory."""


class MelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A log-mel spectrogram: natural logarithm of a magnitude spectrum behind Slaney's mel filters.

    Travels with every checkpoint that makes or takes such frames.

    Attributes:
        sample_rate: in hertz; the filters reach from 0 to half of it.
        fft_samples: of the spectrum.
        window_samples: of the Hann window, in the middle of the spectrum's samples.
        hop_samples: from one frame to the next.
        channels: mel filters.
        floor: what is smaller counts as this before the logarithm.
    """

    sample_rate: Annotated[int, msgspec.Meta(ge=1000, le=2**20)] = 16_000
    fft_samples: Samples = 1024
    window_samples: Samples = 640
    hop_samples: Samples = 160
    channels: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 80
    floor: float = 1e-5

    def __post_init__(self) -> None:
        if not 0 < self.hop_samples <= self.window_samples <= self.fft_samples:
            raise ConfigError(
                f"a hop of {self.hop_samples}, a window of {self.window_samples} and an FFT of {self.fft_samples} "
                "samples; each must be at least the one before, and the hop above 0"
            )
        if (self.fft_samples - self.hop_samples) % 2 or self.channels < 1 or not self.floor > 0:
            raise ConfigError(
                f"an FFT of {self.fft_samples} and a hop of {self.hop_samples} samples, {self.channels} channels, a "
                f"floor of {self.floor}; the first two must differ by an even number and the others be above 0"
            )

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop_samples

    def require(self, other: MelSpec, what: str) -> None:
        """Refuse frames of other parameters.

        Args:
            other: of the frames at hand.
            what: was made for frames of these parameters, as "the vocoder small".

        Raises:
            UserError: naming the first field that differs, and both values.
        """
        for field in self.__struct_fields__:
            wanted, given = getattr(self, field), getattr(other, field)
            if wanted != given:
                raise UserError(
                    f"{what} takes log-mel frames with {field} {wanted:g}, these have {given:g}; compute them with the "
                    "parameters in its config.json"
                )
