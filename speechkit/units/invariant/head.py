"""The network of an invariant quantizer: a small head, which may begin with copies of an encoder's upper layers.

Notation used for array shapes: B items, T frames, D width of the features, W of the head, K units.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.nn.dropout import Dropout
from speechkit.nn.masks import length_mask
from speechkit.units.invariant.config import HeadConfig
from speechkit.units.invariant.upper_layers import UpperLayers


class ConvolutionLayer(nn.Module):
    """Residual depthwise-separable convolution block: (B, T, W) to (B, T, W)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.LayerNorm(width)
        self.depthwise = nn.Conv1d(width, width, config.kernel, padding=config.kernel // 2, groups=width)
        self.expand = nn.Linear(width, 2 * width)
        self.contract = nn.Linear(2 * width, width)
        self.dropout = Dropout(config.dropout)

    def forward(self, frames: Tensor, padding: Tensor) -> Tensor:
        """Frames behind an item's end count as zero, as those before its beginning do."""
        x = self.norm(frames).masked_fill(padding[..., None], 0.0)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        x = self.contract(self.dropout(nn.functional.gelu(self.expand(x))))
        added: Tensor = frames + self.dropout(x)
        return added


class TransformerLayer(nn.Module):
    """Convolution block, which supplies relative positions, then self-attention over the item; (B, T, W) both ways."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.place = ConvolutionLayer(config)
        self.attend = nn.TransformerEncoderLayer(
            config.width, config.heads, 2 * config.width, config.dropout, "gelu", batch_first=True, norm_first=True
        )

    def forward(self, frames: Tensor, padding: Tensor) -> Tensor:
        """Frames behind an item's end are not attended to."""
        attended: Tensor = self.attend(self.place(frames, padding), src_key_padding_mask=padding)
        return attended


class PointwiseLayer(nn.Module):
    """Pointwise linear layer with GELU and dropout, without context: (B, T, W) to (B, T, W)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.width, config.width)
        self.dropout = Dropout(config.dropout)

    def forward(self, frames: Tensor, padding: Tensor) -> Tensor:
        """``padding`` is ignored."""
        hidden: Tensor = self.dropout(nn.functional.gelu(self.linear(frames)))
        return hidden


class InvariantHead(nn.Module):
    """Features (B, T, D) to scores (B, T, K + 1); the blank is the last.

    Args:
        dim: D.
        clusters: K.
        config: shape.
        mean: of the features (D,), or of what the upper layers make of them, taken off.
        scale: of the same (D,), divided by.
        upper: the layers of ``config.upper``; new ones without it.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        dim: int,
        clusters: int,
        config: HeadConfig,
        mean: Float,
        scale: Float,
        upper: UpperLayers | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        if config.upper is not None and config.upper.width != dim:
            raise UserError(f"the upper layers take frames {config.upper.width} wide, not {dim}; take their encoder")
        self.upper = upper or (UpperLayers(config.upper) if config.upper else None)
        self.register_buffer("mean", torch.from_numpy(np.array(mean, np.float32)))
        self.register_buffer("scale", torch.from_numpy(np.array(scale, np.float32)))
        layer = {"mlp": PointwiseLayer, "convolution": ConvolutionLayer, "transformer": TransformerLayer}
        hidden = 0 if config.kind == "linear" else config.layers
        self.enter = nn.Linear(dim, config.width) if hidden else None
        self.layers = nn.ModuleList(layer[config.kind](config) for _ in range(hidden))
        self.norm = nn.LayerNorm(config.width) if hidden else None
        self.leave = nn.Linear(config.width if hidden else dim, clusters + 1)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Scores; those beyond an item's ``lengths`` (B,) are undefined."""
        scores: Tensor = self.leave(self.hidden(features, lengths))
        return scores

    def hidden(self, features: Tensor, lengths: Tensor) -> Tensor:
        """What the scores are read from: (B, T, W), or (B, T, D) of a head without hidden layers."""
        padding = ~length_mask(lengths.to(features.device), features.shape[1])
        x = features if self.upper is None else self.upper(features, padding)
        x = (x - self.mean) / self.scale
        if self.enter is not None and self.norm is not None:
            x = self.enter(x)
            for layer in self.layers:
                x = layer(x, padding)
            x = self.norm(x)
        return x
