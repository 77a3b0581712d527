"""The base concept model: the next concept by regression with squared error.

It predicts the mean of all possible continuations, which may be like none of them; diffusion and codes avoid that.

Notation used for tensor shapes: B documents, T positions, D concept width, W hidden width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechkit.lm.concepts.config import RegressionConfig, TowerConfig
from speechkit.lm.concepts.tower import shift_right
from speechkit.nn.masks import length_mask


class Regression(nn.Module):
    """A linear map of the context before each position."""

    def __init__(self, concept_width: int, tower: TowerConfig, config: RegressionConfig):
        super().__init__()
        self.out = nn.Linear(tower.width, concept_width)

    def loss(self, context: Tensor, concepts: Tensor, lengths: Tensor) -> tuple[Tensor, dict[str, float]]:
        """`squared_error` of the predictions from context (B, T, W), for concepts (B, T, D) and lengths (B,)."""
        return squared_error(self.out(shift_right(context)), concepts, lengths), {}

    def predict(self, context: Tensor, generator: torch.Generator) -> Tensor:
        """Predict each concept from those before it: (B, T, W) -> (B, T, D); deterministic."""
        predicted: Tensor = self.out(shift_right(context))
        return predicted


def squared_error(predicted: Tensor, concepts: Tensor, lengths: Tensor) -> Tensor:
    """Squared error of (B, T, D), summed over D and averaged over the valid positions of documents (B,)."""
    error = (predicted - concepts).square().sum(-1)
    inside = length_mask(lengths, concepts.shape[1])
    return error.masked_fill(~inside, 0.0).sum() / inside.sum()
