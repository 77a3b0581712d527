"""The one model of all encoders: padded waveforms to the hidden states of every layer.

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
"""What is done to a waveform before it enters; see `standardised`."""
ALL = slice(None)
LAST = slice(-1, None)


class SpeechEncoder(nn.Module, ABC):
    """A speech encoder; an item gives the same hidden states alone and in a padded batch.

    A family is a subclass in `speechkit.encoders.families`; it implements `forward`.

    Args:
        spec: of the last layer; its sample rate and hop are those of the checkpoint.
        dims: width of each layer, beginning with layer 0, the input of the first.
    """

    trainable = False
    """Whether gradients reach the weights through `forward`."""

    def __init__(self, spec: EncoderSpec, dims: Sequence[int]):
        super().__init__()
        self.spec = spec
        self.dims = tuple(dims)

    @abstractmethod
    def forward(self, waveforms: Tensor, lengths: Tensor, layers: slice = ALL) -> tuple[list[Tensor], Tensor]:
        """Hidden states and how many frames of them are real.

        Args:
            waveforms: (B, S) as `prepare` gives them, zero behind each item's end.
            lengths: (B,) samples of each item.
            layers: which of the L + 1 layers are wanted; 0 is the input of the first.

        Returns:
            the layers wanted, each (B, T, D), whose frames behind an item's end mean nothing; and frames (B,).
        """

    def truncate(self, layer: int) -> None:
        """Leave out the layers above ``layer``, which a family with many layers then does not compute, either."""
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
        """Where the weights are; the processor without any."""
        return next((value.device for value in self.parameters()), torch.device("cpu"))

    @property
    def most_frames(self) -> int | None:
        """Of one item, where there is a bound."""
        return None

    @property
    def overlap(self) -> int:
        """Samples behind a frame's hop that it reads, where they must be there for the frame to be."""
        return 0

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frames (B,) of items of so many samples (B,); a rest shorter than a frame has none."""
        return ((lengths - self.overlap) // self.spec.hop).clamp(min=0)

    def normalise(self, normalization: Normalization) -> None:
        """Do this to waveforms instead of what the checkpoint says.

        Raises:
            ConfigError: if the family takes them in one way only.
        """
        if normalization != self.spec.normalization:
            raise ConfigError(
                f"{self.spec.model}: its waveforms are always {self.spec.normalization}; leave normalization out"
            )

    def prepare(self, waveform: Float) -> Float:
        """A waveform (S,) in [-1, 1] as `forward` takes it."""
        return waveform

    def for_inference(self, device: str) -> None:
        """On a device in evaluation mode, without gradients, as fast as the same results allow."""
        self.eval().requires_grad_(False).to(device)

    def layer_spec(self, layer: int) -> EncoderSpec:
        """The spec of one layer."""
        return msgspec.structs.replace(self.spec, layer=str(layer), dim=self.dims[layer])


def standardised(waveform: Float) -> Float:
    """Zero mean and unit variance over the item, as wav2vec 2.0's feature extractor gives it; silence stays zero."""
    if not len(waveform):
        return waveform
    return np.asarray((waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7), np.float32)


def unpadded(waveforms: Tensor, lengths: Tensor) -> list[Float]:
    """Each item of a batch (B, S) alone, on the processor."""
    return [row[:length].cpu().numpy() for row, length in zip(waveforms, lengths.tolist(), strict=True)]


def item_states(items: Sequence[Sequence[Tensor]], device: torch.device) -> tuple[list[Tensor], Tensor]:
    """Layers of items that were computed one by one, each (T, D), as a batch: see `SpeechEncoder.forward`."""
    frames = torch.tensor([len(item[0]) for item in items], device=device)
    return [nn.utils.rnn.pad_sequence(list(layer), batch_first=True) for layer in zip(*items, strict=True)], frames
