"""An encoder of waveforms as it is trained for syllables: cut to its lower layers, its frames in standard units.

Takes wav2vec 2.0, HuBERT, WavLM and data2vec-audio folders, and writes the same, so that transformers and
`load_encoder` read what was trained.
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
    """Frames of the last layer that was kept, the same for an item alone and in a padded batch.

    Args:
        folder: folder or hub id of a checkpoint.
        layers: how many layers to keep; all when absent.
        train_front: whether the convolutions learn, too.

    Raises:
        UserError: if there is no such encoder, or it takes no waveforms.
        ConfigError: if it has fewer layers.
    """

    def __init__(self, folder: str | Path, layers: int | None = None, train_front: bool = False) -> None:
        super().__init__()
        encoder = load_speech_encoder(str(folder), trainable=True)
        assert isinstance(encoder, WaveformEncoder)
        encoder.spec.require_rates("syllables", 1 / HOP_SECONDS)
        if encoder.spec.normalization != "standardised":
            raise UserError(f"{folder}: takes waveforms as they are; syllables are learnt from standardised ones")
        encoder.shorten(encoder.num_layers if layers is None else layers)
        if not train_front:
            encoder.freeze_convolutions()
        if getattr(encoder.network, "masked_spec_embed", None) is not None:  # nothing is masked
            encoder.network.masked_spec_embed.requires_grad_(False)
        self.encoder = encoder

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Standardised waveforms (B, S) and their samples (B,) to frames (B, T, D), T of the longest."""
        states, _ = self.encoder(waveforms, lengths, LAST)
        frames: Tensor = states[0]
        return frames

    @property
    def final_norm(self) -> nn.LayerNorm:
        """The layer norm that gives the frames."""
        transformer = self.encoder.transformer
        norm = transformer.layers[-1].final_layer_norm if self.encoder.final_norm is None else transformer.layer_norm
        assert isinstance(norm, nn.LayerNorm)
        return norm

    @torch.no_grad()
    def standardise(self, batches: Iterable[dict[str, Tensor]]) -> None:
        """Give every dimension mean 0 and deviation 1 over some batches, by the weights of the last norm.

        A cosine between frames says little while a few dimensions are far larger than the rest, as in encoders that
        were distilled from Whisper; and zero, the target of silence, is then no special place.
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
            raise UserError("no frames to standardise the encoder on; give it recordings")
        mean = sums / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        # A dimension that hardly moves says little; dividing by its own deviation would make it count the most.
        deviation = deviation.maximum(0.3 * deviation.median()).clamp_min(1e-6)
        self.final_norm.weight.div_(deviation.to(self.final_norm.weight.dtype))
        self.final_norm.bias.copy_((self.final_norm.bias - mean) / deviation)

    def save(self, folder: Path) -> None:
        """Write the folder that `load_encoder` and transformers read."""
        self.encoder.save(folder)
