"""An encoder of waveforms as it is trained for syllables: cut to its lower layers, its frames in standard units.

Takes wav2vec 2.0, HuBERT, WavLM and data2vec-audio folders, and writes the same, so that transformers and
`load_encoder` read what was trained.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.encoders.huggingface import WAVEFORM_FAMILIES, load_checkpoint
from speechkit.encoders.padding import guard
from speechkit.encoders.pretraining.folder import save_encoder
from speechkit.encoders.pretraining.frames import EDGE, frame_mask, sample_mask
from speechkit.errors import ConfigError, UserError


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
        model, extractor, family = load_checkpoint(str(folder))
        if family not in WAVEFORM_FAMILIES:
            raise UserError(f"{folder}: is a {family} model; syllables are learnt by {', '.join(WAVEFORM_FAMILIES)}")
        if extractor is not None and not getattr(extractor, "do_normalize", True):
            raise UserError(f"{folder}: takes waveforms as they are; syllables are learnt from standardised ones")
        has = len(model.encoder.layers)
        if layers is not None and not 1 <= layers <= has:
            raise ConfigError(f"{folder}: has layers 1 to {has}, not {layers}")
        model.encoder.layers = model.encoder.layers[: layers or has]
        model.config.num_hidden_layers = layers or has
        # Every frame is learnt from: nothing is masked, no layer is left out.
        model.config.apply_spec_augment = False
        model.config.layerdrop = 0.0
        model.config.dtype = torch.float32
        self.model: Any = model.float()
        if not train_front:
            self.model.feature_extractor._freeze_parameters()
        if getattr(self.model, "masked_spec_embed", None) is not None:
            self.model.masked_spec_embed.requires_grad_(False)
        self._lengths = guard(self.model)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Standardised waveforms (B, S) and their samples (B,) to frames (B, T, D), T of the longest."""
        self._lengths.samples = lengths + 2 * EDGE
        self._lengths.frames = lengths // 320
        try:
            hidden: Tensor = self.model(
                F.pad(waveforms, (EDGE, EDGE)), attention_mask=sample_mask(lengths)
            ).last_hidden_state
            return hidden
        finally:
            self._lengths.samples = self._lengths.frames = None

    @property
    def final_norm(self) -> nn.LayerNorm:
        """The layer norm that gives the frames."""
        stands_last = bool(getattr(self.model.config, "do_stable_layer_norm", False))
        norm = self.model.encoder.layer_norm if stands_last else self.model.encoder.layers[-1].final_layer_norm
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
            frames = self(batch["inputs"].to(device), lengths)[frame_mask(lengths)].double()
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
        save_encoder(self.model, folder)
