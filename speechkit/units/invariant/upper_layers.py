"""Copies of an encoder's upper transformer layers, fine-tuned below the head of an invariant quantizer.

The layers of wav2vec 2.0, HuBERT and data2vec are plain transformer layers, so PyTorch's own class computes the same; a
trained copy is loaded without the encoder.
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
        # Attention without a mask is faster, and a batch of one has no padding.
        mask = padding if bool(padding.any()) else None
        for layer in self.layers:
            frames = layer(frames, src_key_padding_mask=mask)
        return frames


def copy_upper_layers(encoder: str, begin: int, count: int, dropout: float = 0.0) -> UpperLayers:
    """The layers ``begin + 1`` to ``begin + count`` of an encoder, counted from 1, with its weights.

    From the features of layer ``begin`` they compute those of layer ``begin + count``, without the layer norm that may
    follow the encoder's last layer.

    Args:
        encoder: by name, as `speechkit.encoders.load_encoder` takes it.
        begin: layer of the input features; 0 is the input of the first.
        count: number of layers.
        dropout: in training, not of attention.

    Raises:
        ConfigError: if the encoder has no such layers, or layers of this kind cannot be copied.
    """
    from speechkit.encoders.families.waveform import WaveformEncoder
    from speechkit.encoders.load import load_speech_encoder

    model = load_speech_encoder(encoder)
    if not model.num_layers:
        raise ConfigError(f"{encoder} has no layers to train; set train.upper_layers=0")
    if not isinstance(model, WaveformEncoder) or model.family not in FAMILIES:
        raise ConfigError(
            f"{encoder}: layers of a {model.spec.model.split()[0]} model cannot be copied; those of "
            f"{', '.join(FAMILIES)} can"
        )
    layers, config = model.transformer.layers, model.network.config
    if begin < 0 or count < 1 or begin + count > len(layers):
        raise ConfigError(
            f"{encoder}: has layers 1 to {len(layers)}, not {begin + 1} to {begin + count}; lower begin_layer or "
            "train.upper_layers"
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
    copies = UpperLayers(shape, dropout)
    for target, source in zip(copies.layers, layers[begin : begin + count], strict=True):
        target.load_state_dict(_renamed(source))
    return copies


def _renamed(layer: Any) -> dict[str, Tensor]:
    """Weights of a layer of transformers under the names of PyTorch's class."""
    attention = layer.attention
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    weights = {
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
        weights[f"{name}.weight"], weights[f"{name}.bias"] = module.weight, module.bias
    return {name: value.detach().float().clone() for name, value in weights.items()}
