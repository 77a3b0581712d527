"""SQ-Codec: waveforms as frames of a few values in [-1, 1], each rounded to one of a few levels.

There is no codebook that could collapse: the encoder ends in tanh, and its values are rounded to multiples of
1 / levels with a straight-through gradient. Generated frames are also rounded before they are decoded.

Source: Yang et al. 2024 (SimpleSpeech); rounding after Mentzer et al. 2023 (finite scalar quantization). The spectral
body is ours: it trains on a CPU in an hour, where convolutions over samples take days.

Notation used for tensor shapes: B batch, S samples, T = ceil(S / hop) frames, D values of a frame, W width.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from numpy.typing import ArrayLike
from torch import Tensor, nn

from speechkit.errors import ConfigError, UserError
from speechkit.io.hashing import digest_file
from speechkit.nn.checkpoints import WEIGHTS, read_network, write_network
from speechkit.nn.convnext import ConvNeXtBlock
from speechkit.nn.mel import MelSpectrogram, stack_frames, unstack_frames
from speechkit.nn.mel_spec import MelSpec
from speechkit.tts.vocoder.config import VocosConfig
from speechkit.tts.vocoder.vocos import Vocos

Width = Annotated[int, msgspec.Meta(ge=1, le=8192)]
Stride = Annotated[int, msgspec.Meta(ge=1, le=1024)]
MEL_MEAN, MEL_DEVIATION = -5.0, 3.0
"""Typical mean and standard deviation of log-mel frames of speech."""


class ConvolutionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="convolutions", tag_field="kind"):
    """Strided convolutions over samples, as published; the decoder mirrors the encoder.

    Attributes:
        strides: downsampling factors from the waveform to the frames; their product is the hop.
        width: channels before the first stride; each stride doubles them.
        widest: upper limit of the channels.
        dilations: one residual unit per dilation at each rate.
        kernel: kernel size of the residual units, odd.
    """

    strides: tuple[Stride, ...] = (2, 4, 5, 8)
    width: Width = 32
    widest: Width = 512
    dilations: tuple[Stride, ...] = (1, 3, 5, 7, 9)
    kernel: Annotated[int, msgspec.Meta(ge=1, le=255)] = 7

    def __post_init__(self) -> None:
        if not 0 < len(self.strides) <= 16 or len(self.dilations) > 64 or self.kernel % 2 == 0:
            raise ConfigError(f"strides {self.strides} and kernel {self.kernel}; give strides, and an odd kernel")

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(self.strides)

    def widths(self) -> list[int]:
        """Channels before the first stride and after each."""
        return [min(self.width * 2**level, self.widest) for level in range(len(self.strides) + 1)]


class SpectralBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="spectral", tag_field="kind"):
    """ConvNeXt blocks over log-mel frames as the encoder, and Vocos as the decoder.

    Attributes:
        mel: input of the encoder.
        stride: mel frames per codec frame.
        width: channels of the encoder's blocks.
        layers: number of encoder blocks.
        generator: the decoder; it must have the hop of ``mel``.
    """

    mel: MelSpec = MelSpec()
    stride: Stride = 2
    width: Width = 256
    layers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    generator: VocosConfig = VocosConfig(width=256, inner=768, layers=6, mel_magnitudes=False)

    def __post_init__(self) -> None:
        if self.generator.hop_samples != self.mel.hop_samples or self.generator.mel_magnitudes:
            raise ConfigError(
                f"generator.hop_samples is {self.generator.hop_samples}; set it to the hop of mel, "
                f"{self.mel.hop_samples}, and mel_magnitudes to false"
            )

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return self.stride * self.mel.hop_samples


class ScalarCodecConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configuration of a scalar codec.

    Attributes:
        sample_rate: in hertz.
        latent: values per frame, D.
        levels: S; a value is one of the 2 S + 1 multiples of 1 / S in [-1, 1].
        body: architecture of encoder and decoder.
    """

    model_type: Literal["speechkit-scalar-codec"] = "speechkit-scalar-codec"
    sample_rate: Annotated[int, msgspec.Meta(ge=1)] = 16_000
    latent: Width = 32
    levels: Annotated[int, msgspec.Meta(ge=1, le=127)] = 5
    body: ConvolutionBody | SpectralBody = ConvolutionBody()

    def __post_init__(self) -> None:
        if isinstance(self.body, SpectralBody) and self.body.mel.sample_rate != self.sample_rate:
            raise ConfigError(
                f"sample_rate is {self.sample_rate} and that of body.mel {self.body.mel.sample_rate}; set both to one"
            )

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return self.body.hop_samples

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_samples

    @property
    def bits_per_second(self) -> float:
        """Bitrate of the rounded frames if all levels are equally frequent."""
        return self.frame_rate * self.latent * math.log2(2 * self.levels + 1)


class ScalarCodec(nn.Module):
    """Encoder, rounding and decoder of a scalar codec."""

    def __init__(self, config: ScalarCodecConfig):
        super().__init__()
        self.config = config
        self.encoder: nn.Module
        self.decoder: nn.Module
        if isinstance(config.body, ConvolutionBody):
            self.encoder = convolution_encoder(config.body, config.latent)
            self.decoder = convolution_decoder(config.body, config.latent)
        else:
            self.encoder = SpectralEncoder(config.body, config.latent)
            self.decoder = SpectralDecoder(config.body, config.latent)

    def encode(self, waveforms: Tensor) -> Tensor:
        """Waveforms of equal length (B, S) -> rounded frames (B, T, D); the last frame is zero-padded."""
        padded = F.pad(waveforms, (0, -waveforms.shape[1] % self.config.hop_samples))
        return self.snap(torch.tanh(self.encoder(padded[:, None]).transpose(1, 2)))

    def snap(self, frames: Tensor) -> Tensor:
        """Round values to the nearest level in [-1, 1]; the gradient is straight-through inside and 0 outside."""
        inside = frames.clamp(-1.0, 1.0)
        return inside + ((inside * self.config.levels).round() / self.config.levels - inside).detach()

    def decode(self, frames: Tensor) -> Tensor:
        """Frames (B, T, D), rounded or not -> waveforms (B, T * hop)."""
        decoded: Tensor = self.decoder(self.snap(frames).transpose(1, 2))[:, 0]
        return decoded

    def forward(self, waveforms: Tensor) -> Tensor:
        """Waveforms (B, S) -> reconstructed waveforms (B, S)."""
        return self.decode(self.encode(waveforms))[:, : waveforms.shape[1]]

    @torch.no_grad()
    def encode_waveform(self, waveform: ArrayLike) -> Tensor:
        """One recording (S,) -> frames (T, D) on the CPU.

        Raises:
            UserError: if it has no samples.
        """
        samples = torch.as_tensor(np.asarray(waveform, np.float32), device=next(self.parameters()).device)
        if not len(samples):
            raise UserError("the recording has no samples; give one that is not empty")
        return self.encode(samples[None])[0].cpu()

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Write `config.json` and `model.safetensors`."""
        write_network(folder, self.config, self, half=half)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> ScalarCodec:
        """Load a codec from a folder or hub id written by `save_pretrained`.

        Raises:
            UserError: see `speechkit.nn.checkpoints.read_network`.
        """
        return read_network(folder, ScalarCodecConfig, cls, "a scalar codec")


def convolution_encoder(body: ConvolutionBody, latent: int) -> nn.Sequential:
    """(B, 1, S) -> (B, D, S / hop)."""
    widths, middle = body.widths(), body.kernel // 2
    layers: list[nn.Module] = [nn.Conv1d(1, widths[0], body.kernel, padding=middle)]
    for stride, narrow, wide in zip(body.strides, widths[:-1], widths[1:], strict=True):
        layers += [*_units(narrow, body), nn.PReLU(narrow), Down(narrow, wide, stride)]
    return nn.Sequential(*layers, nn.PReLU(widths[-1]), nn.Conv1d(widths[-1], latent, 3, padding=1))


def convolution_decoder(body: ConvolutionBody, latent: int) -> nn.Sequential:
    """(B, D, T) -> (B, 1, T * hop)."""
    widths, middle = body.widths(), body.kernel // 2
    layers: list[nn.Module] = [nn.Conv1d(latent, widths[-1], body.kernel, padding=middle)]
    for stride, narrow, wide in reversed(list(zip(body.strides, widths[:-1], widths[1:], strict=True))):
        layers += [nn.PReLU(wide), Up(wide, narrow, stride), *_units(narrow, body)]
    return nn.Sequential(*layers, nn.PReLU(widths[0]), nn.Conv1d(widths[0], 1, body.kernel, padding=middle))


class ResidualUnit(nn.Module):
    """A dilated and a pointwise convolution with a residual connection."""

    def __init__(self, width: int, kernel: int, dilation: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.PReLU(width),
            nn.Conv1d(width, width, kernel, dilation=dilation, padding=dilation * (kernel // 2)),
            nn.PReLU(width),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, W, T) -> (B, W, T)."""
        output: Tensor = x + self.layers(x)
        return output


class Down(nn.Conv1d):
    """Strided convolution, from T to T / stride frames."""

    def __init__(self, narrow: int, wide: int, stride: int):
        super().__init__(narrow, wide, 2 * stride, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, narrow, T) -> (B, wide, T / stride)."""
        stride = self.stride[0]
        return super().forward(F.pad(x, (stride // 2, stride - stride // 2)))


class Up(nn.ConvTranspose1d):
    """Transposed convolution, from T to T * stride frames."""

    def __init__(self, wide: int, narrow: int, stride: int):
        super().__init__(wide, narrow, 2 * stride, stride)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, wide, T) -> (B, narrow, T * stride)."""
        stride = self.stride[0]
        begin = stride // 2
        return super().forward(x)[..., begin : begin + stride * x.shape[-1]]


def _units(width: int, body: ConvolutionBody) -> list[nn.Module]:
    return [ResidualUnit(width, body.kernel, dilation) for dilation in body.dilations]


class SpectralEncoder(nn.Module):
    """(B, 1, S) -> (B, D, S / hop)."""

    def __init__(self, body: SpectralBody, latent: int):
        super().__init__()
        self.stride = body.stride
        self.mel = MelSpectrogram(body.mel)
        self.input_proj = nn.Linear(body.stride * body.mel.channels, body.width)
        self.blocks = nn.Sequential(
            *(ConvNeXtBlock(body.width, 3 * body.width, scale=1.0 / body.layers) for _ in range(body.layers))
        )
        self.norm = nn.LayerNorm(body.width)
        self.output_proj = nn.Linear(body.width, latent)

    def forward(self, waveforms: Tensor) -> Tensor:
        """See the class."""
        with torch.no_grad():
            mel = stack_frames((self.mel(waveforms[:, 0]) - MEL_MEAN) / MEL_DEVIATION, self.stride)
        latents: Tensor = self.output_proj(self.norm(self.blocks(self.input_proj(mel))))
        return latents.transpose(1, 2)


class SpectralDecoder(nn.Module):
    """(B, D, T) -> (B, 1, T * hop)."""

    def __init__(self, body: SpectralBody, latent: int):
        super().__init__()
        self.stride = body.stride
        self.input_proj = nn.Linear(latent, body.stride * body.generator.width)
        self.local = nn.Conv1d(body.generator.width, body.generator.width, 7, padding=3)
        self.norm = nn.LayerNorm(body.generator.width)
        self.generator = Vocos(body.generator)

    def forward(self, frames: Tensor) -> Tensor:
        """See the class."""
        hidden = unstack_frames(self.input_proj(frames.transpose(1, 2)), self.stride)
        hidden = self.norm(self.local(hidden.transpose(1, 2)).transpose(1, 2))
        samples: Tensor = self.generator(hidden, hidden)
        return samples[:, None]


def codec_digest(folder: str | Path) -> str:
    """Digest of a codec's weights, which identifies the codec that latents belong to.

    Raises:
        UserError: if the folder has no weights.
    """
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the folder of a codec")
    return digest_file(path)
