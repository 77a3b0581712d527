"""The quantized concept model: the next concept as a sum of code vectors, chosen one after another.

Residual books each name what those before them left over. For ``codes`` a book's choice is a class; for ``vectors``
the whole concept is foreseen, and the code vectors near to what it lacks are the likely ones.

Source: LCM team 2024 (Large Concept Models), section 2.3; Zeghidour et al. 2021 (residual quantization).

Notation used for tensor shapes: B documents, T places, D width of concepts, W width inside, K books of C codes each.
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
"""Concepts in memory at a time while books are learnt."""


class Quantized(nn.Module):
    """A tower that chooses code vectors, book after book, of what is known before a place."""

    centroids: Tensor

    def __init__(self, concept_width: int, tower: TowerConfig, config: QuantizedConfig):
        super().__init__()
        self.config = config
        self.register_buffer("centroids", torch.zeros(config.books, config.codes, concept_width))
        self.book = nn.Embedding(config.books, tower.width)
        self.tower = ConditionedTower(concept_width, tower, config.layers)
        self.out = nn.Linear(tower.width, config.codes if config.foresees == "codes" else concept_width)

    def _out(self, partial: Tensor, books: Tensor, known: Tensor) -> Tensor:
        """What the tower says of books (B, T), given sums of the codes before (B, T, D): logits or the concept."""
        out: Tensor = self.out(self.tower(partial, self.book(books), known))
        return out

    def loss(self, known: Tensor, concepts: Tensor, lengths: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The cost of one book's code a place, drawn evenly; of ``vectors`` the squared error of the concept."""
        books = torch.randint(self.config.books, concepts.shape[:2], device=concepts.device)
        codes, partial = self.quantize(concepts)
        place = books[..., None, None].expand(-1, -1, 1, concepts.shape[-1])
        before = partial.gather(2, place)[:, :, 0]  # (B, T, D)
        out = self._out(before, books, known)
        if self.config.foresees == "vectors":
            return squared_error(out, concepts, lengths), {}
        code = codes.gather(2, books[..., None])[..., 0]
        cost = F.cross_entropy(out.flatten(0, 1).float(), code.flatten(), reduction="none").view(code.shape)
        inside = length_mask(lengths, concepts.shape[1])
        return cost.masked_fill(~inside, 0.0).sum() / inside.sum(), {}

    @torch.no_grad()
    def quantize(self, concepts: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (…, K) of concepts (…, D); sums of code vectors before each book and behind all (…, K + 1, D)."""
        partial = [torch.zeros_like(concepts)]
        codes = []
        for book in self.centroids:
            rest = (concepts - partial[-1]).flatten(0, -2)
            code = torch.cdist(rest, book).argmin(-1).view(concepts.shape[:-1])
            codes.append(code)
            partial.append(partial[-1] + book[code])
        return torch.stack(codes, -1), torch.stack(partial, -2)

    def foresee(self, known: Tensor, generator: torch.Generator) -> Tensor:
        """(B, T, W) -> a draw of the concept of each place given those before it: (B, T, D)."""
        partial = known.new_zeros(*known.shape[:2], self.centroids.shape[-1])
        for number, book in enumerate(self.centroids):
            books = torch.full(known.shape[:2], number, device=known.device)
            out = self._out(partial, books, known)
            if self.config.foresees == "vectors":
                distances = torch.cdist(out - partial, book[None]).square()
                out = -self.config.sharpness * distances
            logp = out.float().log_softmax(-1)  # (B, T, C)
            if self.config.temperature:
                chances = (logp / self.config.temperature).softmax(-1).flatten(0, 1).cpu()
                code = torch.multinomial(chances, 1, generator=generator).view(known.shape[:2]).to(known.device)
            else:
                code = logp.argmax(-1)
            partial = partial + book[code]
        return partial

    @torch.no_grad()
    def fit(self, concepts: Float, seed: int) -> None:
        """Learn the books from concepts (N, D) of training, one after another, by k-means.

        Raises:
            UserError: if there are fewer distinct concepts than codes of a book.
        """
        for place, book in enumerate(residual_books(concepts, self.config.books, self.config.codes, seed)):
            self.centroids[place].copy_(torch.from_numpy(book))


def residual_books(concepts: Float, books: int, codes: int, seed: int) -> list[Float]:
    """Code vectors (C, D) of each book: zero, and k-means of what the books before left of concepts (N, D).

    Raises:
        UserError: if there are fewer distinct concepts than codes of a book.
    """
    rest = np.array(concepts, np.float32)
    found = []
    for place in range(books):
        config = KMeansConfig(clusters=codes - 1, seed=seed + place, sample_frames=max(codes, SAMPLE))
        learnt = train_kmeans(bound(_once, rest), config).codebook
        book = np.concatenate([np.zeros_like(learnt.centroids[:1]), learnt.centroids])
        found.append(book)
        rest = rest - book[nearest_distances(rest, book)[0]]
    return found


def _once(concepts: Float) -> list[Float]:
    return [concepts]
