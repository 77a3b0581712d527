"""wav2vec 2.0, HuBERT, WavLM and data2vec-audio: convolutions over the waveform below a transformer.

The four differ only in their transformer, a class of transformers; the code around it is shared.

Notation used for tensor shapes: B items, S samples, T frames, D width.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.encoders.convolutions import RowConvolutions, runs_by_rows
from speechkit.encoders.families import register
from speechkit.encoders.model import Normalization, SpeechEncoder, standardised
from speechkit.encoders.padding import make_padding_invariant
from speechkit.encoders.spec import EncoderSpec
from speechkit.encoders.transformers_encoder import TransformersEncoder, load_transformers
from speechkit.errors import ConfigError
from speechkit.io.arrays import Float
from speechkit.nn.masks import length_mask

FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")


class WaveformEncoder(TransformersEncoder):
    """A ``Wav2Vec2Model`` or one of its kind, on one of two grids.

    By default T = S // hop: an item is padded with silence on both sides by the samples that its convolutions reach
    beyond their hop. With ``compat`` there is no padding: T = (S - receptive field) // hop + 1, and frames equal those
    of stock transformers and fairseq for a single item.

    Args:
        network: the model; modified in place to be invariant to padding.
        extractor: its feature extractor; None: waveforms are standardised.
        spec: of the checkpoint; None: a spec without a name.
    """

    trainable = True

    def __init__(self, network: nn.Module, extractor: Any = None, spec: EncoderSpec | None = None):
        super().__init__(network, extractor, spec or waveform_spec(network, extractor))
        config = self.network.config
        strides, kernels = config.conv_stride, config.conv_kernel
        self.receptive_field = 1 + sum(
            (kernel - 1) * math.prod(strides[:below]) for below, kernel in enumerate(kernels)
        )
        reach = int(max(0, self.receptive_field - self.hop))
        self.edge, self._overlap = (0, reach) if self.spec.compat else (reach, 0)
        self._lengths = make_padding_invariant(self.network)

    @staticmethod
    def transformer_of(network: Any) -> Any:
        """See `TransformersEncoder`."""
        return network.encoder

    @property
    def family(self) -> str:
        """Its name in transformers."""
        return str(self.network.config.model_type)

    @property
    def overlap(self) -> int:
        """See `SpeechEncoder`."""
        return self._overlap

    def prepare(self, waveform: Float) -> Float:
        """See `SpeechEncoder`; standardised if the checkpoint was trained so."""
        return waveform if self.spec.normalization == "none" else standardised(waveform)

    def normalise(self, normalization: Normalization) -> None:
        """See `SpeechEncoder`."""
        self.spec = msgspec.structs.replace(self.spec, normalization=normalization)

    def exact(self, waveforms: Tensor, lengths: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        """See `TransformersEncoder`; ``mask_time_indices`` (B, T) is true at masked frames."""
        padded = int(lengths.min()) < waveforms.shape[1]
        lengths = lengths.to(self.device)
        inputs = F.pad(waveforms.to(self.device), (self.edge // 2, self.edge - self.edge // 2))
        samples, frames = lengths + self.edge, self.frame_lengths(lengths)
        mask = None
        if padded:  # masking costs time, so it is only done with padding
            # The mask is of samples; through the model's own arithmetic it gives exactly these frames.
            mask = length_mask(samples, inputs.shape[1]).long()
            self._lengths.samples, self._lengths.frames = samples, frames
        try:
            last = self.network(inputs, attention_mask=mask, **options).last_hidden_state
        finally:
            self._lengths.samples = self._lengths.frames = None
        return last, frames

    def for_inference(self, device: str) -> None:
        """See `SpeechEncoder`."""
        super().for_inference(device)
        if device == "cpu" and runs_by_rows(self.network.feature_extractor):
            self.network.feature_extractor = RowConvolutions(self.network.feature_extractor, self._lengths)

    def freeze_convolutions(self) -> None:
        """Freeze the convolutions."""
        self.network.feature_extractor._freeze_parameters()

    def shorten(self, layers: int) -> None:
        """Reduce it to its lower layers, as a model that transformers loads; a final norm is kept.

        Raises:
            ConfigError: if it has fewer layers.
        """
        if not 1 <= layers <= self.num_layers:
            raise ConfigError(f"{self.spec.model}: has layers 1 to {self.num_layers}, not {layers}")
        self.transformer.layers = self.transformer.layers[:layers]
        self.network.config.num_hidden_layers = layers
        self.spec, self.dims = self.layer_spec(layers), self.dims[: layers + 1]

    def save(self, folder: Path, half: bool = False) -> None:
        """Write a folder for `load_encoder` and transformers; moves the network to the CPU.

        Args:
            folder: created if missing.
            half: store float16: half the size, outputs differ by about 0.1 %.
        """
        from transformers import Wav2Vec2FeatureExtractor

        folder.mkdir(parents=True, exist_ok=True)
        network = self.network.cpu().eval()
        (network.to(torch.float16) if half else network).save_pretrained(folder)
        extractor = self.extractor or Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
        extractor.save_pretrained(folder)


def waveform_spec(network: Any, extractor: Any, name: str = "", weights: str = "", compat: bool = False) -> EncoderSpec:
    """The spec of a network: rates from its convolutions and its feature extractor."""
    standardises = extractor is None or bool(getattr(extractor, "do_normalize", True))
    return EncoderSpec(
        f"{network.config.model_type} {Path(name).name}".rstrip(),
        weights,
        "",
        "standardised" if standardises else "none",
        int(network.config.hidden_size),
        sample_rate=int(getattr(extractor, "sampling_rate", 16_000)),
        hop=math.prod(network.config.conv_stride),
        compat=compat,
    )


@register(*FAMILIES)
def load(name: str, layer: int | None, compat: bool) -> SpeechEncoder:
    """A checkpoint of one of the families; see `speechkit.encoders.families.Load`."""
    network, extractor, weights = load_transformers(name, layer, needs_extractor=False)
    # No masking, dropout or layer drop unless requested.
    network.config.apply_spec_augment, network.config.layerdrop = False, 0.0
    return WaveformEncoder(network, extractor, waveform_spec(network, extractor, name, weights, compat))
