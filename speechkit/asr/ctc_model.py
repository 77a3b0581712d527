"""The embedded CTC character model: a Whisper-shaped encoder, conformer blocks above it, and a linear output.

One file holds the whole model. Source: Radford et al. 2022 (encoder), Gulati et al. 2020 (convolution block),
Nozaki and Komatsu 2021 (self-conditioned CTC: the intermediate prediction is fed back into the later blocks).

Notation used for tensor shapes:
    B batch, S samples at 16 kHz, M mel frames (10 ms), T output frames (20 ms), C mel channels, D width, H heads,
    V vocabulary
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.nn.checkpoints import read_network, write_network
from speechkit.nn.masks import padding_bias, padding_mask
from speechkit.nn.mel import MEL_HOP_SAMPLES, SAMPLE_RATE, LogMel
from speechkit.nn.positions import sinusoidal
from speechkit.nn.transformer import SelfAttention

FRAME_SAMPLES = 2 * MEL_HOP_SAMPLES
ENGLISH_VOCABULARY = ("<blank>", " ", "'", *"abcdefghijklmnopqrstuvwxyz")


class CtcConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configuration of the model; `vocabulary[0]` is the blank.

    The defaults match the encoder of Whisper tiny.
    """

    vocabulary: tuple[str, ...] = ENGLISH_VOCABULARY
    lang: str = "en"
    mel_channels: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 80
    width: Annotated[int, msgspec.Meta(ge=1, le=16384)] = 384
    heads: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 6
    encoder_layers: Annotated[int, msgspec.Meta(ge=0, le=256)] = 4
    top_layers: Annotated[int, msgspec.Meta(ge=0, le=256)] = 2
    kernel_frames: Annotated[int, msgspec.Meta(ge=1, le=1023)] = 15
    max_frames: Annotated[int, msgspec.Meta(ge=1, le=2**20)] = 1500
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if self.kernel_frames % 2 == 0:
            raise ValueError(f"kernel_frames must be odd, got {self.kernel_frames}")
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise ValueError("vocabulary has a symbol twice")


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer as in Whisper."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.feed_norm = nn.LayerNorm(width)
        self.feed_in = nn.Linear(width, 4 * width)
        self.feed_out = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor | None, keep: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D); `keep` (B, T, 1) is unused here; the layers share one signature."""
        x = x + self.dropout(self.attention(self.attention_norm(x), None, bias))
        feed_forward: Tensor = self.feed_out(F.gelu(self.feed_in(self.feed_norm(x))))
        output: Tensor = x + self.dropout(feed_forward)
        return output


class ConformerLayer(EncoderLayer):
    """A transformer layer with a gated depthwise convolution between attention and feed-forward."""

    def __init__(self, width: int, heads: int, kernel_frames: int, dropout: float):
        super().__init__(width, heads, dropout)
        self.conv_norm = nn.LayerNorm(width)
        self.conv_in = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel_frames, padding=kernel_frames // 2, groups=width)
        self.depthwise_norm = nn.LayerNorm(width)
        self.conv_out = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None, keep: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D); frames where `keep` (B, T, 1) is zero do not affect others."""
        x = x + self.dropout(self.attention(self.attention_norm(x), None, bias))
        gated = F.glu(self.conv_in(self.conv_norm(x)), dim=-1)
        if keep is not None:
            gated = gated * keep
        local = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        x = x + self.dropout(self.conv_out(F.silu(self.depthwise_norm(local))))
        feed_forward: Tensor = self.feed_out(F.gelu(self.feed_in(self.feed_norm(x))))
        output: Tensor = x + self.dropout(feed_forward)
        return output


class CtcModel(nn.Module):
    """Log-mel features to CTC log-probabilities, one frame every 20 ms."""

    positions: Tensor

    def __init__(self, config: CtcConfig):
        super().__init__()
        self.config = config
        width, vocabulary = config.width, len(config.vocabulary)
        self.log_mel = LogMel(config.mel_channels)
        self.conv1 = nn.Conv1d(config.mel_channels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.register_buffer("positions", sinusoidal(torch.arange(config.max_frames), width, 1.0), persistent=False)
        self.layers = nn.ModuleList(
            EncoderLayer(width, config.heads, config.dropout) for _ in range(config.encoder_layers)
        )
        self.encoder_norm = nn.LayerNorm(width)
        self.top = nn.ModuleList(
            ConformerLayer(width, config.heads, config.kernel_frames, config.dropout) for _ in range(config.top_layers)
        )
        self.top_norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, vocabulary)
        self.feedback = nn.Linear(vocabulary, width)
        nn.init.zeros_(self.feedback.weight)

    @property
    def hop_seconds(self) -> float:
        """Seconds from one output frame to the next."""
        return FRAME_SAMPLES / SAMPLE_RATE

    @staticmethod
    def output_frames(mel_frames: int) -> int:
        """Output frames of `mel_frames` input frames: half of them, rounded up."""
        return (mel_frames + 1) // 2

    def forward(self, mel: Tensor, mel_frames: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Log-probabilities, and the intermediate predictions for the training loss.

        Args:
            mel: (B, M, C); zero beyond each item's length.
            mel_frames: (B,) valid frames of each item; all when absent.

        Returns:
            (B, T, V) float32 natural logarithms, and a list of such tensors, one before each top layer.

        Raises:
            ValueError: if there are more frames than positions, with both counts.
        """
        lengths = None if mel_frames is None else (mel_frames + 1) // 2
        return self.upper(self.lower(mel, mel_frames, 0), lengths, 0)

    def lower(self, mel: Tensor, mel_frames: Tensor | None, layers: int) -> Tensor:
        """Convolutions, positions and the first ``layers`` encoder layers: (B, M, C) to (B, T, D).

        Raises:
            ValueError: if there are more frames than positions, with both counts.
        """
        frames = self.output_frames(mel.shape[1])
        if frames > self.config.max_frames:
            raise ValueError(f"{frames} frames are more than the {self.config.max_frames} positions of the model")
        x = F.gelu(self.conv1(mel.transpose(1, 2)))  # (B, D, M)
        inside = padding_mask(mel_frames, mel.shape[1])
        if inside is not None:
            # Zero the padding before every convolution, so that a padded item equals a single one.
            x = x * inside[:, None]
        x = F.gelu(self.conv2(x)).transpose(1, 2) + self.positions[:frames].to(x.dtype)  # (B, T, D)
        bias = padding_bias(None if mel_frames is None else (mel_frames + 1) // 2, frames, x.dtype)
        for layer in self.layers[:layers]:
            x = layer(x, bias, None)
        return x

    def upper(self, x: Tensor, lengths: Tensor | None, layers: int) -> tuple[Tensor, list[Tensor]]:
        """The model above `lower`: (B, T, D) and valid frames (B,) to the result of `forward`."""
        inside = padding_mask(lengths, x.shape[1])
        bias = padding_bias(lengths, x.shape[1], x.dtype)
        keep = None if inside is None else inside[:, :, None].to(x.dtype)
        for layer in self.layers[layers:]:
            x = layer(x, bias, keep)
        x = self.encoder_norm(x)
        intermediate = []
        for layer in self.top:
            logits = self.output(self.top_norm(x)).float()
            intermediate.append(logits.log_softmax(-1))
            x = layer(x + self.feedback(logits.softmax(-1).to(x.dtype)), bias, keep)
        return self.output(self.top_norm(x)).float().log_softmax(-1), intermediate

    def save_pretrained(self, folder: str | Path, *, int8: bool = False) -> None:
        """Write `config.json` and `model.safetensors` (float16, or large matrices as int8) into `folder`."""
        write_network(folder, self.config, self, half=True, int8=int8)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> CtcModel:
        """Read what `save_pretrained` wrote, from a folder or hub id; weights become float32.

        Raises:
            UserError: see `speechkit.nn.checkpoints.read_network`.
        """
        return read_network(folder, CtcConfig, cls, "a recogniser")
