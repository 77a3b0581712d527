"""Base class of families of transformers: a checkpoint, and a transformer that can be truncated.

Notation used for tensor shapes: B items, S samples, T frames, L layers, D width.
"""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from contextlib import nullcontext
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from speechkit.encoders.checkpoint import load_whole
from speechkit.encoders.layers import capture_hidden_states, truncate_layers
from speechkit.encoders.model import ALL, LAST, SpeechEncoder
from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.nn.checkpoints import load_pretrained


class TransformersEncoder(SpeechEncoder):
    """A network of transformers with its feature extractor.

    Args:
        network: the encoder's network, whose layers are those of its ``transformer``.
        extractor: its feature extractor; None if the checkpoint has none.
        spec: of the last layer.
    """

    def __init__(self, network: nn.Module, extractor: Any, spec: EncoderSpec):
        layers = len(self.transformer_of(network).layers)
        super().__init__(msgspec.structs.replace(spec, layer=str(layers)), [spec.dim] * (layers + 1))
        self.network: Any = network
        self.extractor = extractor

    @staticmethod
    @abstractmethod
    def transformer_of(network: Any) -> Any:
        """The part of the network that has the ``layers``."""

    @abstractmethod
    def exact(self, waveforms: Tensor, lengths: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        """The last hidden state (B, T, D), independent of padding, and frames (B,)."""

    @property
    def final_norm(self) -> str | None:
        """The name of the final norm, if any."""
        return "layer_norm" if getattr(self.network.config, "do_stable_layer_norm", False) else None

    @property
    def transformer(self) -> Any:
        """The part of the network that has the ``layers``."""
        return self.transformer_of(self.network)

    def forward(
        self, waveforms: Tensor, lengths: Tensor, layers: slice = ALL, **options: Any
    ) -> tuple[list[Tensor], Tensor]:
        """See `SpeechEncoder`; options are those of the family."""
        alone = layers == LAST and self.num_layers > 0
        with nullcontext(list[Tensor]()) if alone else capture_hidden_states(self.transformer) as states:
            last, frames = self.exact(waveforms, lengths, **options)
        # Some encoders normalise the last state outside its layer.
        if self.num_layers:
            states[-1:] = [last]
        return states[layers], frames

    def truncate(self, layer: int) -> None:
        """See `SpeechEncoder`."""
        truncate_layers(self.transformer, layer, self.final_norm)
        super().truncate(layer)


def load_transformers(name: str, layer: int | None, *, needs_extractor: bool) -> tuple[Any, Any, str]:
    """A checkpoint's network, its feature extractor (None if there is none) and the digest of all weights.

    Args:
        name: hub id or folder.
        layer: the last layer to run; the checkpoint may lack those above it.
        needs_extractor: whether a feature extractor is required.

    Raises:
        UserError: if it cannot be loaded, is stored as pickle only, or lacks weights.
    """
    from transformers import AutoFeatureExtractor, AutoModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of loading weights
    network, drawn = load_whole(AutoModel, name, lambda key: _runs(key, layer))
    weights = network.state_dict()
    for key in drawn:
        weights[key].zero_()  # so that digests are reproducible
    try:
        extractor = load_pretrained(AutoFeatureExtractor, name)
    except (OSError, ValueError):
        if needs_extractor:
            raise UserError(f"{name}: has no preprocessor_config.json, which defines its features") from None
        extractor = None
    return network, extractor, weights_digest(network)


def weights_digest(model: nn.Module) -> str:
    """Digest of all weights by name, shape and value."""
    digest = hashlib.blake2b(digest_size=16)
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _runs(key: str, layer: int | None) -> bool:
    """Whether a weight affects a layer's frames; Whisper's decoder and higher layers do not."""
    above = re.match(r"encoder\.layers\.(\d+)\.", key)
    return not key.startswith("decoder.") and (layer is None or above is None or int(above[1]) < layer)
