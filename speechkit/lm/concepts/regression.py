"""The base concept model: the next concept as the mean of what may come, by squared error.

Where two things may follow, their mean is foreseen, which is neither: what diffusion and codes are for.

Notation used for tensor shapes: B documents, T places, D width of concepts, W width inside.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechkit.lm.concepts.config import RegressionConfig, TowerConfig
from speechkit.lm.concepts.tower import behind
from speechkit.nn.masks import length_mask


class Regression(nn.Module):
    """A linear map of what is known before a place."""

    def __init__(self, concept_width: int, tower: TowerConfig, config: RegressionConfig):
        super().__init__()
        self.out = nn.Linear(tower.width, concept_width)

    def loss(self, known: Tensor, concepts: Tensor, lengths: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Squared error summed over D, the mean of all places of documents (B, T, W), (B, T, D), (B,)."""
        return squared_error(self.out(behind(known)), concepts, lengths), {}

    def foresee(self, known: Tensor, generator: torch.Generator) -> Tensor:
        """(B, T, W) -> the concept of each place given those before it (B, T, D); nothing is drawn."""
        foreseen: Tensor = self.out(behind(known))
        return foreseen


def squared_error(foreseen: Tensor, concepts: Tensor, lengths: Tensor) -> Tensor:
    """Summed over D, the mean over the places that documents have: (B, T, D) twice, (B,)."""
    error = (foreseen - concepts).square().sum(-1)
    inside = length_mask(lengths, concepts.shape[1])
    return error.masked_fill(~inside, 0.0).sum() / inside.sum()
