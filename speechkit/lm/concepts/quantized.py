"""The quantized concept model: the next concept as a sum of residual code vectors, predicted one after another.

Each codebook quantizes the residual of those before it. With ``codes`` the model classifies the code of each book; with
``vectors`` it predicts the whole concept, and a code's probability falls with its distance from the remaining residual.

Source: LCM team 2024 (Large Concept Models), section 2.3; Zeghidour et al. 2021 (residual quantization).

Notation used for tensor shapes: B documents, T positions, D concept width, W hidden width, K books of C codes each.
"""

from __future__ import annotations

from functools import partial as bound

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.io.arrays import Float
from speechkit.lm.concepts.config import QuantizedConfig, TowerConfig
from speechkit.lm.concepts.regression import squared_error
from speechkit.lm.concepts.tower import ConditionedTower
from speechkit.nn.masks import length_mask
from speechkit.units.assignment import nearest_distances
from speechkit.units.kmeans import KMeansConfig, train_kmeans

SAMPLE = 100_000
"""Concepts sampled to train each codebook."""


class Quantized(nn.Module):
    """A tower that predicts the codes of a concept, book after book, from the concepts before it."""

    centroids: Tensor

    def __init__(self, concept_width: int, tower: TowerConfig, config: QuantizedConfig):
        super().__init__()
        self.config = config
        self.register_buffer("centroids", torch.zeros(config.books, config.codes, concept_width))
        self.book = nn.Embedding(config.books, tower.width)
        self.tower = ConditionedTower(concept_width, tower, config.layers)
        self.out = nn.Linear(tower.width, config.codes if config.foresees == "codes" else concept_width)

    def _out(self, partial: Tensor, books: Tensor, context: Tensor) -> Tensor:
        """Logits of the codes of books (B, T), or the concept, given the sums of earlier codes (B, T, D)."""
        out: Tensor = self.out(self.tower(partial, self.book(books), context))
        return out

    def loss(self, context: Tensor, concepts: Tensor, lengths: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of one random book's code per position; for ``vectors`` squared error of the concept."""
        books = torch.randint(self.config.books, concepts.shape[:2], device=concepts.device)
        codes, partial = self.quantize(concepts)
        index = books[..., None, None].expand(-1, -1, 1, concepts.shape[-1])
        before = partial.gather(2, index)[:, :, 0]  # (B, T, D)
        out = self._out(before, books, context)
        if self.config.foresees == "vectors":
            return squared_error(out, concepts, lengths), {}
        code = codes.gather(2, books[..., None])[..., 0]
        cost = F.cross_entropy(out.flatten(0, 1).float(), code.flatten(), reduction="none").view(code.shape)
        inside = length_mask(lengths, concepts.shape[1])
        return cost.masked_fill(~inside, 0.0).sum() / inside.sum(), {}

    @torch.no_grad()
    def quantize(self, concepts: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (…, K) of concepts (…, D), and partial sums of code vectors (…, K + 1, D), from zero to all."""
        partial = [torch.zeros_like(concepts)]
        codes = []
        for book in self.centroids:
            residual = (concepts - partial[-1]).flatten(0, -2)
            code = torch.cdist(residual, book).argmin(-1).view(concepts.shape[:-1])
            codes.append(code)
            partial.append(partial[-1] + book[code])
        return torch.stack(codes, -1), torch.stack(partial, -2)

    def predict(self, context: Tensor, generator: torch.Generator) -> Tensor:
        """Sample the concept of each position given those before it: (B, T, W) -> (B, T, D)."""
        partial = context.new_zeros(*context.shape[:2], self.centroids.shape[-1])
        for number, book in enumerate(self.centroids):
            books = torch.full(context.shape[:2], number, device=context.device)
            out = self._out(partial, books, context)
            if self.config.foresees == "vectors":
                distances = torch.cdist(out - partial, book[None]).square()
                out = -self.config.sharpness * distances
            logp = out.float().log_softmax(-1)  # (B, T, C)
            if self.config.temperature:
                probabilities = (logp / self.config.temperature).softmax(-1).flatten(0, 1).cpu()
                code = torch.multinomial(probabilities, 1, generator=generator)
                code = code.view(context.shape[:2]).to(context.device)
            else:
                code = logp.argmax(-1)
            partial = partial + book[code]
        return partial

    @torch.no_grad()
    def fit(self, concepts: Float, seed: int) -> None:
        """Train the codebooks on training concepts (N, D) by residual k-means.

        Raises:
            UserError: if there are fewer distinct concepts than codes of a book.
        """
        for number, book in enumerate(residual_books(concepts, self.config.books, self.config.codes, seed)):
            self.centroids[number].copy_(torch.from_numpy(book))


def residual_books(concepts: Float, books: int, codes: int, seed: int) -> list[Float]:
    """Code vectors (C, D) of each book: zero, and k-means centroids of the residuals of concepts (N, D).

    Raises:
        UserError: if there are fewer distinct concepts than codes of a book.
    """
    residual = np.array(concepts, np.float32)
    codebooks = []
    for number in range(books):
        config = KMeansConfig(clusters=codes - 1, seed=seed + number, sample_frames=max(codes, SAMPLE))
        centroids = train_kmeans(bound(_single_array, residual), config).codebook.centroids
        book = np.concatenate([np.zeros_like(centroids[:1]), centroids])
        codebooks.append(book)
        residual = residual - book[nearest_distances(residual, book)[0]]
    return codebooks


def _single_array(concepts: Float) -> list[Float]:
    return [concepts]
