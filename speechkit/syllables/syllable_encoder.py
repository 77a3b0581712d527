"""A trainable waveform encoder for syllables, truncated to its lower layers, with standardised output frames.

Reads and writes folders of wav2vec 2.0, HuBERT, WavLM and data2vec-audio, for transformers and `load_encoder`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from speechkit.encoders.families.waveform import WaveformEncoder
from speechkit.encoders.load import load_speech_encoder
from speechkit.encoders.model import LAST
from speechkit.errors import UserError
from speechkit.nn.masks import length_mask
from speechkit.syllables.segments import HOP_SECONDS


class SyllableEncoder(nn.Module):
    """Frames of the last kept layer; padding does not affect the result.

    Args:
        folder: folder or hub id of a checkpoint.
        layers: number of layers to keep; default: all.
        train_front: whether to train the convolutions as well.

    Raises:
        UserError: if the encoder cannot be loaded, or does not take waveforms.
        ConfigError: if it has fewer layers.
    """

    def __init__(self, folder: str | Path, layers: int | None = None, train_front: bool = False) -> None:
        super().__init__()
        encoder = load_speech_encoder(str(folder), trainable=True)
        assert isinstance(encoder, WaveformEncoder)
        encoder.spec.require_rates("syllables", 1 / HOP_SECONDS)
        if encoder.spec.normalization != "standardised":
            raise UserError(
                f"{folder}: takes unnormalised waveforms; syllable training needs an encoder of standardised ones"
            )
        encoder.shorten(encoder.num_layers if layers is None else layers)
        if not train_front:
            encoder.freeze_convolutions()
        if getattr(encoder.network, "masked_spec_embed", None) is not None:  # nothing is masked
            encoder.network.masked_spec_embed.requires_grad_(False)
        self.encoder = encoder

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Standardised waveforms (B, S) with lengths (B,) in samples to frames (B, T, D)."""
        states, _ = self.encoder(waveforms, lengths, LAST)
        frames: Tensor = states[0]
        return frames

    @property
    def final_norm(self) -> nn.LayerNorm:
        """The layer norm of the output frames."""
        transformer = self.encoder.transformer
        norm = transformer.layers[-1].final_layer_norm if self.encoder.final_norm is None else transformer.layer_norm
        assert isinstance(norm, nn.LayerNorm)
        return norm

    @torch.no_grad()
    def standardise(self, batches: Iterable[dict[str, Tensor]]) -> None:
        """Standardise every output dimension over the batches, by rescaling the last layer norm.

        Cosines between frames are dominated by a few large dimensions in some encoders, such as those distilled from
        Whisper, and their zero vector, the target of silence, is not distinct from speech.
        """
        device = self.final_norm.weight.device
        width = self.final_norm.weight.shape[0]
        sums, squares = torch.zeros(2, width, dtype=torch.float64, device=device)
        count = 0
        was_training = self.training
        self.eval()
        for batch in batches:
            lengths = batch["lengths"].to(device)
            states = self(batch["inputs"].to(device), lengths)
            frames = states[length_mask(self.encoder.frame_lengths(lengths), states.shape[1])].double()
            sums += frames.sum(0)
            squares += frames.square().sum(0)
            count += len(frames)
        self.train(was_training)
        if not count:
            raise UserError("there are no frames to standardise the encoder on; give recordings")
        mean = sums / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        # A floor on the deviation keeps near-constant dimensions from being amplified.
        deviation = deviation.maximum(0.3 * deviation.median()).clamp_min(1e-6)
        self.final_norm.weight.div_(deviation.to(self.final_norm.weight.dtype))
        self.final_norm.bias.copy_((self.final_norm.bias - mean) / deviation)

    def save(self, folder: Path) -> None:
        """Write a folder for `load_encoder` and transformers."""
        self.encoder.save(folder)
