"""Whisper's encoder without padding to 30 seconds, with masked attention. Radford et al. 2022.

Notation used for tensor shapes: B items, S samples, T frames, C mel channels, D width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from speechkit.encoders.families import register
from speechkit.encoders.model import SpeechEncoder, unpadded
from speechkit.encoders.spec import EncoderSpec
from speechkit.encoders.transformers_encoder import TransformersEncoder, load_transformers
from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.nn.masks import attention_bias, length_mask


class WhisperEncoder(TransformersEncoder):
    """A ``WhisperEncoder`` of transformers, for waveforms no longer than its positions."""

    final_norm = "layer_norm"

    @staticmethod
    def transformer_of(network: Any) -> Any:
        """See `TransformersEncoder`."""
        return network

    @property
    def most_frames(self) -> int:
        """See `SpeechEncoder`; as many as there are positions."""
        return int(self.network.config.max_source_positions)

    def exact(self, waveforms: Tensor, lengths: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        """See `TransformersEncoder`."""
        frames = self.frame_lengths(lengths.cpu())
        longest = int(frames.max())
        if self.spec.compat:
            return self._padded_to_the_positions(waveforms, lengths, frames)
        most = self.most_frames
        if longest > most:
            raise UserError(
                f"a waveform of {longest} frames is longer than the {most} positions of this model; encode_long takes "
                "recordings of any length"
            )
        mels = [
            self._mel(item, 2 * count)
            for item, count in zip(unpadded(waveforms, lengths), frames.tolist(), strict=True)
        ]
        mel = torch.stack([F.pad(item, (0, 2 * longest - item.shape[1])) for item in mels]).to(self.device)
        x = convolved(self.network, mel, frames.to(self.device))
        return run_layers(self.network, x, frames.to(self.device))[-1], frames

    def _mel(self, waveform: Float, mel_frames: int) -> Tensor:
        """Log-mel (C, mel_frames) of the item alone, by the extractor's own filters."""
        from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

        extractor, size = self.extractor, int(self.extractor.n_fft)
        filters = getattr(extractor, "mel_filters", None)
        if filters is None:
            rate = self.spec.sample_rate
            filters = mel_filter_bank(
                size // 2 + 1, extractor.feature_size, 0.0, rate / 2, rate, norm="slaney", mel_scale="slaney"
            )
        short = max(0, size // 2 + 1 - len(waveform))
        mel = spectrogram(
            np.pad(waveform, (0, short)),
            window_function(size, "hann"),
            size,
            int(extractor.hop_length),
            power=2.0,
            mel_filters=filters,
            log_mel="log10",
        )[:, :mel_frames]
        mel = np.maximum(mel, mel.max() - 8.0)
        return torch.from_numpy(np.asarray((mel + 4.0) / 4.0, np.float32))

    def _padded_to_the_positions(self, waveforms: Tensor, lengths: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Each item padded with silence to the maximum length, as in stock transformers."""
        extracted = self.extractor(
            unpadded(waveforms, lengths),
            sampling_rate=self.spec.sample_rate,
            return_tensors="pt",
            padding="max_length",
        )
        last = self.network(extracted["input_features"].to(self.device)).last_hidden_state
        return last, frames.clamp(max=last.shape[1])


def convolved(network: Any, mel: Tensor, frames: Tensor) -> Tensor:
    """Apply the convolutions of a ``WhisperEncoder`` to log-mel frames: (B, C, 2 T) and (B,) to (B, T, D)."""
    x = F.gelu(network.conv1(mel)) * length_mask(2 * frames, mel.shape[-1])[:, None]
    return F.gelu(network.conv2(x)).transpose(1, 2)


def run_layers(network: Any, x: Tensor, frames: Tensor) -> list[Tensor]:
    """States of every layer, the last one normalised, from the output of `convolved`: (B, T, D) each."""
    mask = attention_bias(frames, x.shape[1], x.dtype)
    x = x + network.embed_positions.weight[: x.shape[1]]
    states = []
    for layer in network.layers:
        output = layer(x, mask)
        x = output[0] if isinstance(output, tuple) else output
        states.append(x)
    return [*states[:-1], network.layer_norm(x)]


@register("whisper")
def load(name: str, layer: int | None, compat: bool) -> SpeechEncoder:
    """A checkpoint; see `speechkit.encoders.families.Load`."""
    model, extractor, weights = load_transformers(name, layer, needs_extractor=True)
    network = model.encoder
    spec = EncoderSpec(
        f"whisper {Path(name).name}",
        weights,
        "",
        "whisper log-mel",
        int(network.config.d_model),
        sample_rate=int(extractor.sampling_rate),
        hop=2 * int(extractor.hop_length),
        compat=compat,
    )
    return WhisperEncoder(network, extractor, spec)
