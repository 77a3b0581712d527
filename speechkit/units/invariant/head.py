"""The network of an invariant quantizer: a convolutional head, optionally on copies of an encoder's upper layers.

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


class ConvolutionBlock(nn.Module):
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
        """Frames where ``padding`` (B, T) is true count as zero, as those before the item's beginning do."""
        x = self.norm(frames).masked_fill(padding[..., None], 0.0)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        x = self.contract(self.dropout(nn.functional.gelu(self.expand(x))))
        added: Tensor = frames + self.dropout(x)
        return added


class InvariantHead(nn.Module):
    """Features (B, T, D) to scores (B, T, K + 1); the blank is the last.

    Args:
        dim: D.
        clusters: K.
        config: shape.
        mean: of the features (D,), or of the upper layers' output, subtracted.
        scale: standard deviation of the same (D,), divided by.
        upper: the layers of ``config.upper``; new ones without it.

    Raises:
        UserError: if the upper layers have another width than the features.
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
        self.input_proj = nn.Linear(dim, config.width)
        self.layers = nn.ModuleList(ConvolutionBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.classifier = nn.Linear(config.width, clusters + 1)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Scores; those beyond an item's ``lengths`` (B,) are undefined."""
        scores: Tensor = self.classifier(self.hidden(features, lengths))
        return scores

    def hidden(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Input of the classifier: (B, T, D) to (B, T, W)."""
        padding = ~length_mask(lengths.to(features.device), features.shape[1])
        x = features if self.upper is None else self.upper(features, padding)
        x = self.input_proj((x - self.mean) / self.scale)
        for layer in self.layers:
            x = layer(x, padding)
        hidden: Tensor = self.norm(x)
        return hidden
