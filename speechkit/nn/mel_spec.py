"""Parameters of a log-mel spectrogram, which a synthesizer and its vocoder must share. Torch-free."""

from __future__ import annotations

from typing import Annotated

import msgspec

from speechkit.errors import ConfigError, UserError

Samples = Annotated[int, msgspec.Meta(ge=1, le=2**15)]
"""The bounds here and on channels limit the memory that a hostile configuration can request."""


class MelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A log-mel spectrogram: natural logarithm of a magnitude spectrum with Slaney's mel filters.

    Stored with every checkpoint that produces or consumes such frames.

    Attributes:
        sample_rate: in hertz; the filters cover 0 to half of it.
        fft_samples: size of the FFT.
        window_samples: size of the Hann window, centred in the FFT.
        hop_samples: frame hop.
        channels: number of mel filters.
        floor: minimum value before the logarithm.
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
                "samples; they must not decrease in this order, and the hop must be above 0"
            )
        if (self.fft_samples - self.hop_samples) % 2 or self.channels < 1 or not self.floor > 0:
            raise ConfigError(
                f"an FFT of {self.fft_samples} and a hop of {self.hop_samples} samples, {self.channels} channels, a "
                f"floor of {self.floor}; the first two must differ by an even number and the others be above 0"
            )

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_samples

    def require(self, other: MelSpec, what: str) -> None:
        """Reject frames of other parameters.

        Args:
            other: parameters of the given frames.
            what: name of the consumer of these parameters, such as "the vocoder small".

        Raises:
            UserError: naming the first field that differs, and both values.
        """
        for field in self.__struct_fields__:
            expected, actual = getattr(self, field), getattr(other, field)
            if expected != actual:
                raise UserError(
                    f"{what} takes log-mel frames with {field} {expected:g}, these have {actual:g}; compute them with "
                    "the parameters in its config.json"
                )
