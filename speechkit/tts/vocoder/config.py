"""What a vocoder is made of and what it takes; loads no torch."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError, UserError
from speechkit.nn.mel_spec import MelSpec
from speechkit.units.quantizers import UnitSet

Count = Annotated[int, msgspec.Meta(ge=1, le=2**14)]
"""A size; the bound keeps a hostile configuration from taking the memory."""
Sizes = Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=1024)], ...], msgspec.Meta(max_length=12)]
"""Of layers in turn; more of them would take minutes to build."""


class MelInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="mel", tag_field="kind"):
    """Log-mel frames of these parameters."""

    mel: MelSpec = MelSpec()

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.mel.frame_rate

    @property
    def width(self) -> int:
        """Numbers a frame."""
        return self.mel.channels

    def require(self, other: object, what: str) -> None:
        """Refuse other frames.

        Args:
            other: a `MelSpec`.
            what: takes them, as "the vocoder exp/vocoder/model".

        Raises:
            UserError: naming what differs.
        """
        if not isinstance(other, MelSpec):
            raise UserError(f"{what} takes log-mel frames, and was given {_said(other)}; take one for these")
        self.mel.require(other, what)


class EncoderInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="encoder", tag_field="kind"):
    """Frames of one layer of an encoder."""

    encoder: EncoderSpec

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.encoder.frame_rate

    @property
    def width(self) -> int:
        """Numbers a frame."""
        return self.encoder.dim

    def require(self, other: object, what: str) -> None:
        """Refuse frames of another encoder or layer; see `MelInput.require`."""
        if not isinstance(other, EncoderSpec):
            raise UserError(
                f"{what} takes frames of {self.encoder.model} layer {self.encoder.layer}, and was given "
                f"{_said(other)}; take one for these"
            )
        self.encoder.require(other, what)


class UnitInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="units", tag_field="kind"):
    """Units of one codebook, one number a frame."""

    units: UnitSet

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.units.frames_per_second

    @property
    def width(self) -> int:
        """How many units there are."""
        return self.units.clusters

    def require(self, other: object, what: str) -> None:
        """Refuse units of another codebook; see `MelInput.require`."""
        if not isinstance(other, UnitSet):
            raise UserError(
                f"{what} takes units of a codebook of {self.units.clusters}, and was given {_said(other)}; take one "
                "for these"
            )
        if other.digest != self.units.digest:
            raise UserError(
                f"{what} takes units of a codebook of {self.units.clusters} ({self.units.digest[:12]}), these come "
                f"from one of {other.clusters} ({other.digest[:12]}); assign them again with the first"
            )


VocoderInput = MelInput | EncoderInput | UnitInput


def _said(other: object) -> str:
    """What somebody gave, in words."""
    if isinstance(other, MelSpec):
        return "log-mel frames"
    if isinstance(other, EncoderSpec):
        return f"frames of {other.model} layer {other.layer}"
    if isinstance(other, UnitSet):
        return f"units of a codebook of {other.clusters}"
    return f"a {type(other).__name__}"


class HarmonicConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pitch predictor of a harmonic source.

    Attributes:
        inner: width between the pointwise layers of a block.
        layers: ConvNeXt blocks, of the generator's width and kernel.
    """

    inner: Count = 256
    layers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 3


class VocosConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="vocos", tag_field="kind"):
    """ConvNeXt blocks at one frame rate and an inverse STFT.

    Attributes:
        width: of a frame.
        inner: between the pointwise layers of a block.
        layers: blocks.
        kernel: frames of a depthwise convolution, odd.
        fft_samples: of the inverse STFT and its window.
        hop_samples: from one frame to the next.
        mel_magnitudes: magnitudes begin from what the mel frames say of them, and the network only adds to their
            logarithm; for log-mel input.
        harmonics: phases start from a pulse train at the pitch predicted for each frame, and from noise. Without it
            the network learns phases alone, and after hours of training low voices still lose their pitch.
    """

    width: Count = 512
    inner: Count = 1536
    layers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    kernel: Count = 7
    fft_samples: Count = 640
    hop_samples: Count = 160
    mel_magnitudes: bool = True
    harmonics: HarmonicConfig | None = None

    def __post_init__(self) -> None:
        fft, hop = self.fft_samples, self.hop_samples
        if fft % hop or fft < 2 * hop or (fft - hop) % 2 or self.kernel % 2 == 0:
            raise ConfigError(
                f"an FFT of {fft}, a hop of {hop} samples and a kernel of {self.kernel}; the first must be a multiple "
                "of the second, from two on, their difference even, and the kernel odd"
            )

    @property
    def samples_per_frame(self) -> int:
        """Of the generator's own frames."""
        return self.hop_samples

    @property
    def context_frames(self) -> int:
        """The generator's frames on each side that a frame of samples depends on."""
        neighbours = self.fft_samples // (2 * self.hop_samples)
        context = self.kernel // 2 * (self.layers + 1) + neighbours
        if self.harmonics is None:
            return context
        # Samples depend on the pitch of every frame that overlaps their windows, and of one frame beside those.
        return max(context, self.kernel // 2 * (self.harmonics.layers + 1) + 2 * neighbours + 1)


class HifiGanConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="hifigan", tag_field="kind"):
    """HiFi-GAN V1: transposed convolutions, each with residual blocks of several kernels behind it.

    Attributes:
        channels: before the first transposed convolution; each halves them.
        rates: of the transposed convolutions; their product is the samples a frame.
        kernels: of the transposed convolutions, each at least its rate.
        block_kernels: of the residual blocks, odd.
        block_dilations: of the convolutions in each block.
    """

    channels: Count = 512
    rates: Sizes = (5, 4, 4, 2)
    kernels: Sizes = (11, 8, 8, 4)
    block_kernels: Sizes = (3, 7, 11)
    block_dilations: Sizes = (1, 3, 5)

    def __post_init__(self) -> None:
        if not self.rates or len(self.rates) != len(self.kernels) or not self.block_kernels or not self.block_dilations:
            raise ConfigError(
                f"rates {list(self.rates)} and kernels {list(self.kernels)} must be as many, and neither they nor the "
                "blocks empty"
            )
        if any(kernel < rate or rate < 1 for rate, kernel in zip(self.rates, self.kernels, strict=True)):
            raise ConfigError(f"kernels {list(self.kernels)} must be at least the rates {list(self.rates)}, from 1 on")
        if any(kernel % 2 == 0 for kernel in self.block_kernels):
            raise ConfigError(f"block_kernels {list(self.block_kernels)} must be odd")
        if self.channels % 2 ** len(self.rates):
            raise ConfigError(f"channels {self.channels} cannot be halved {len(self.rates)} times")

    @property
    def samples_per_frame(self) -> int:
        """Of the generator's own frames."""
        return math.prod(self.rates)

    @property
    def context_frames(self) -> int:
        """Frames on each side that a frame of samples depends on."""
        kernel = max(self.block_kernels)
        blocks = sum((kernel // 2) * (dilation + 1) for dilation in self.block_dilations)
        context, finer = 3.0, 1
        for rate, width in zip(self.rates, self.kernels, strict=True):
            context += math.ceil(width / rate) / finer
            finer *= rate
            context += blocks / finer
        return math.ceil(context + 3 / finer)


GeneratorConfig = VocosConfig | HifiGanConfig


class SpeakerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A speaker encoder: log-mel frames of any recording to one vector.

    Attributes:
        width: of its frames.
        inner: between the pointwise layers of a block.
        layers: ConvNeXt blocks.
        dim: of the vector.
        mel: what it hears.
    """

    width: Count = 128
    inner: Count = 256
    layers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 3
    dim: Count = 64
    mel: MelSpec = MelSpec()


class VocoderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vocoder: its ``config.json``.

    Attributes:
        input: what it takes.
        generator: what makes samples of it.
        sample_rate: of the waveform in hertz.
        speaker: how a reference recording becomes the speaker's vector; None where the input says all.
        noise: width of a random vector beside the speaker's.
        model_type: names the kind of model.
    """

    input: VocoderInput = MelInput()
    generator: GeneratorConfig = VocosConfig()
    sample_rate: Annotated[int, msgspec.Meta(ge=1000, le=2**20)] = 16_000
    speaker: SpeakerConfig | None = None
    noise: Annotated[int, msgspec.Meta(ge=0, le=2**14)] = 0
    model_type: str = "speechkit-vocoder"

    def __post_init__(self) -> None:
        own = self.sample_rate / self.generator.samples_per_frame
        if own % self.input.frame_rate:
            raise ConfigError(
                f"the generator takes {own:g} frames a second ({self.generator.samples_per_frame} samples each at "
                f"{self.sample_rate} Hz) and the input has {self.input.frame_rate:g}, of which that is no multiple; "
                "change hop or rates"
            )
        if isinstance(self.input, MelInput) and self.input.mel.sample_rate != self.sample_rate:
            raise ConfigError(
                f"the waveform has {self.sample_rate} Hz and the log-mel frames are of {self.input.mel.sample_rate} "
                "Hz; set both to one rate"
            )
        if self.model_type != "speechkit-vocoder":
            raise ConfigError(f"model_type is {self.model_type}; a vocoder's is speechkit-vocoder")

    @property
    def repeats(self) -> int:
        """How often an input frame is given to the generator."""
        return round(self.sample_rate / self.generator.samples_per_frame / self.input.frame_rate)

    @property
    def samples_per_frame(self) -> int:
        """Of an input frame."""
        return self.repeats * self.generator.samples_per_frame

    @property
    def context_frames(self) -> int:
        """Input frames on each side that the samples of a frame depend on: the look-ahead of streaming."""
        return -(-self.generator.context_frames // self.repeats)

    @property
    def harmonic(self) -> bool:
        """Whether the generator has a harmonic source."""
        return isinstance(self.generator, VocosConfig) and self.generator.harmonics is not None

    @property
    def condition(self) -> int:
        """Width of speaker and noise together."""
        return (self.speaker.dim if self.speaker else 0) + self.noise
