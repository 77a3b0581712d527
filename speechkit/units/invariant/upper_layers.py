"""Copies of an encoder's upper transformer layers, for a head to begin with and to train along.

The layers of wav2vec 2.0, HuBERT and data2vec are plain transformer layers, so that PyTorch's own class computes the
same; nothing of the encoder is needed to load a trained copy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from speechkit.errors import ConfigError
from speechkit.nn.attention import Attention
from speechkit.nn.dropout import Dropout
from speechkit.units.invariant.config import LayerShape

FAMILIES = ("wav2vec2", "hubert", "data2vec-audio")


def _layer(shape: LayerShape, dropout: float) -> nn.TransformerEncoderLayer:
    layer = nn.TransformerEncoderLayer(
        shape.width,
        shape.heads,
        shape.inner,
        dropout,
        "gelu",
        shape.epsilon,
        batch_first=True,
        norm_first=shape.norm_first,
    )
    layer.self_attn = Attention(shape.width, shape.heads)
    layer.dropout, layer.dropout1, layer.dropout2 = (Dropout(dropout) for _ in range(3))
    return layer


class UpperLayers(nn.Module):
    """Transformer layers over whole items: (B, T, D) to (B, T, D)."""

    def __init__(self, shape: LayerShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.ModuleList(_layer(shape, dropout) for _ in range(shape.count))

    def forward(self, frames: Tensor, padding: Tensor) -> Tensor:
        """``padding`` (B, T) is true behind an item's end; those frames are not attended to."""
        # Without padding no mask: the attention without one is faster, and most batches of one need none.
        mask = padding if bool(padding.any()) else None
        for layer in self.layers:
            frames = layer(frames, src_key_padding_mask=mask)
        return frames


def copy_upper_layers(encoder: str, begin: int, count: int, dropout: float = 0.0) -> UpperLayers:
    """The layers ``begin + 1`` to ``begin + count`` of an encoder, counted from 1, with its weights.

    What they give for the features of layer ``begin`` is what the encoder gives at layer ``begin + count``, but for the
    norm that may stand behind its last one.

    Args:
        encoder: by name, as `speechkit.encoders.load_encoder` takes it.
        begin: the layer whose features go in; 0 is the input of the first.
        count: of layers.
        dropout: while training, but not of attention.

    Raises:
        ConfigError: if the encoder has no such layers, or they are of another kind.
    """
    from speechkit.encoders.families.waveform import WaveformEncoder
    from speechkit.encoders.load import load_speech_encoder

    model = load_speech_encoder(encoder)
    if not model.num_layers:
        raise ConfigError(f"{encoder} has no layers to train; leave the upper layers out")
    if not isinstance(model, WaveformEncoder) or model.family not in FAMILIES:
        raise ConfigError(
            f"{encoder}: layers of a {model.spec.model.split()[0]} model cannot be copied; those of "
            f"{', '.join(FAMILIES)} can"
        )
    layers, config = model.transformer.layers, model.network.config
    if begin < 0 or count < 1 or begin + count > len(layers):
        raise ConfigError(
            f"{encoder}: has layers 1 to {len(layers)}, not {begin + 1} to {begin + count}; begin lower or take fewer"
        )
    shape = LayerShape(
        count,
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
        bool(getattr(config, "do_stable_layer_norm", False)),
        config.layer_norm_eps,
    )
    if config.hidden_act != "gelu":
        raise ConfigError(f"{encoder}: its layers use {config.hidden_act}; only gelu can be copied")
    made = UpperLayers(shape, dropout)
    for target, source in zip(made.layers, layers[begin : begin + count], strict=True):
        target.load_state_dict(_renamed(source))
    return made


def _renamed(layer: Any) -> dict[str, Tensor]:
    """A layer of transformers under the names of PyTorch's."""
    attention = layer.attention
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    found = {
        "self_attn.in_proj_weight": torch.cat([part.weight for part in parts]),
        "self_attn.in_proj_bias": torch.cat([part.bias for part in parts]),
    }
    for name, module in (
        ("self_attn.out_proj", attention.out_proj),
        ("linear1", layer.feed_forward.intermediate_dense),
        ("linear2", layer.feed_forward.output_dense),
        ("norm1", layer.layer_norm),
        ("norm2", layer.final_layer_norm),
    ):
        found[f"{name}.weight"], found[f"{name}.bias"] = module.weight, module.bias
    return {name: value.detach().float().clone() for name, value in found.items()}
