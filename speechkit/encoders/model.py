"""Base class of all encoders: padded waveforms to the hidden states of every layer.

Notation used for tensor shapes: B items, S samples, T frames, L layers, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError
from speechkit.io.arrays import Float

Normalization = Literal["none", "standardised"]
"""Normalisation of the input waveform; see `standardised`."""
ALL = slice(None)
LAST = slice(-1, None)


class SpeechEncoder(nn.Module, ABC):
    """A speech encoder whose hidden states are the same alone and in a padded batch.

    A family is a subclass in `speechkit.encoders.families`; it implements `forward`.

    Args:
        spec: of the last layer; its sample rate and hop are those of the checkpoint.
        dims: width of each layer, from layer 0, the input of the first.
    """

    trainable = False
    """Whether gradients reach the weights through `forward`."""

    def __init__(self, spec: EncoderSpec, dims: Sequence[int]):
        super().__init__()
        self.spec = spec
        self.dims = tuple(dims)

    @abstractmethod
    def forward(self, waveforms: Tensor, lengths: Tensor, layers: slice = ALL) -> tuple[list[Tensor], Tensor]:
        """Hidden states and the number of valid frames.

        Args:
            waveforms: (B, S) from `prepare`, zero beyond each item's end.
            lengths: (B,) samples of each item.
            layers: which of the L + 1 layers to return; 0 is the input of the first.

        Returns:
            the requested layers, each (B, T, D), with undefined frames beyond an item's end; and frames (B,).
        """

    def truncate(self, layer: int) -> None:
        """Remove the layers above ``layer``."""
        self.spec, self.dims = self.layer_spec(layer), self.dims[: layer + 1]

    @property
    def num_layers(self) -> int:
        """L; layer 0 is not counted."""
        return len(self.dims) - 1

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return self.spec.hop

    @property
    def device(self) -> torch.device:
        """Device of the weights; the CPU if there are none."""
        return next((value.device for value in self.parameters()), torch.device("cpu"))

    @property
    def most_frames(self) -> int | None:
        """Maximum frames of an item; None if unbounded."""
        return None

    @property
    def overlap(self) -> int:
        """Samples after a frame's hop that are required for the frame."""
        return 0

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frames (B,) of items of ``lengths`` samples (B,); a remainder shorter than a frame has none."""
        return ((lengths - self.overlap) // self.spec.hop).clamp(min=0)

    def normalise(self, normalization: Normalization) -> None:
        """Override the checkpoint's normalisation of waveforms.

        Raises:
            ConfigError: if the family has a fixed normalisation.
        """
        if normalization != self.spec.normalization:
            raise ConfigError(
                f"{self.spec.model}: its waveforms are always {self.spec.normalization}; leave normalization out"
            )

    def prepare(self, waveform: Float) -> Float:
        """A waveform (S,) in [-1, 1] prepared for `forward`."""
        return waveform

    def for_inference(self, device: str) -> None:
        """Move to a device, in evaluation mode without gradients, with optimisations that keep the results."""
        self.eval().requires_grad_(False).to(device)

    def layer_spec(self, layer: int) -> EncoderSpec:
        """The spec of one layer."""
        return msgspec.structs.replace(self.spec, layer=str(layer), dim=self.dims[layer])


def standardised(waveform: Float) -> Float:
    """Zero mean and unit variance over the item, as in wav2vec 2.0's feature extractor; silence stays zero."""
    if not len(waveform):
        return waveform
    return np.asarray((waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7), np.float32)


def unpadded(waveforms: Tensor, lengths: Tensor) -> list[Float]:
    """The items of a batch (B, S), on the CPU."""
    return [row[:length].cpu().numpy() for row, length in zip(waveforms, lengths.tolist(), strict=True)]


def item_states(items: Sequence[Sequence[Tensor]], device: torch.device) -> tuple[list[Tensor], Tensor]:
    """Batch the layers of items computed one by one, each (T, D): see `SpeechEncoder.forward`."""
    frames = torch.tensor([len(item[0]) for item in items], device=device)
    return [nn.utils.rnn.pad_sequence(list(layer), batch_first=True) for layer in zip(*items, strict=True)], frames
