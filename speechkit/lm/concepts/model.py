"""A large concept model: predicts the vector of the next speech segment from those of the preceding ones.

Notation used for tensor shapes: B documents, T positions, D concept width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.lm.concepts.config import ConceptConfig, RegressionConfig, TwoTowerConfig
from speechkit.lm.concepts.diffusion import TwoTower
from speechkit.lm.concepts.quantized import Quantized
from speechkit.lm.concepts.regression import Regression
from speechkit.lm.concepts.space import ConceptSpace
from speechkit.lm.concepts.tower import Reader
from speechkit.nn.checkpoints import read_network, write_network


class ConceptModel(nn.Module):
    """Concept space, a causal encoder of the concepts so far, and a predictor of the next one.

    Args:
        config: sizes, and the kind of predictor.
    """

    def __init__(self, config: ConceptConfig):
        super().__init__()
        self.config = config
        width = config.encoder.dim
        self.space = ConceptSpace(width, config.speaker_directions)
        self.reader = Reader(width, config.tower)
        self.variant = _new_variant(width, config)

    def loss(self, concepts: Tensor, lengths: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Training loss on documents (B, T, D) in concept space with lengths (B,)."""
        loss, numbers = self.variant.loss(self.reader(concepts), concepts, lengths)
        return loss, numbers

    def predict(self, concepts: Tensor, generator: torch.Generator) -> Tensor:
        """Predict each concept from the preceding ones only: (B, T, D) -> (B, T, D)."""
        predicted: Tensor = self.variant.predict(self.reader(concepts), generator)
        return predicted

    @torch.inference_mode()
    def predict_document(self, concepts: Float, seed: int = 0) -> Float:
        """As `predict` for a document (T, D) of any length, in windows that overlap by half of the context."""
        device = self.space.mean.device
        rows = torch.from_numpy(concepts).to(device, self.space.mean.dtype)
        generator = torch.Generator().manual_seed(seed)
        pieces = []
        for begin, end, new in windows(len(rows), self.config.context):
            pieces.append(self.predict(rows[None, begin:end], generator)[0, new - begin :])
        predicted: Float = torch.cat(pieces).cpu().float().numpy()
        return predicted

    @torch.inference_mode()
    def generate(self, concepts: Float, count: int, seed: int = 0) -> Float:
        """Continue a document (T, D) by ``count`` concepts (count, D), each predicted from all before it."""
        rows = torch.from_numpy(concepts).to(self.space.mean)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(count):
            window = torch.cat([rows[-(self.config.context - 1) :], rows.new_zeros(1, rows.shape[1])])
            rows = torch.cat([rows, self.predict(window[None], generator)[0, -1:]])
        continuation: Float = rows[len(concepts) :].cpu().float().numpy()
        return continuation

    @torch.inference_mode()
    def concepts(self, vectors: Float) -> Float:
        """Concepts (T, D) of mean encoder frames (T, D).

        Raises:
            UserError: if their width is not the encoder's.
        """
        if vectors.shape[-1] != self.config.encoder.dim:
            raise UserError(
                f"the vectors have width {vectors.shape[-1]} and the model expects width {self.config.encoder.dim}; "
                f"encode the segments with {self.config.encoder.model}"
            )
        concepts: Float = self.space(torch.from_numpy(vectors).to(self.space.mean)).cpu().float().numpy()
        return concepts

    @torch.no_grad()
    def fit(self, vectors: Float, speakers: Sequence[str], seed: int) -> None:
        """Fit the parts that are not trained by gradients: the concept space and the codebooks.

        Raises:
            UserError: if there are too few speakers or vectors.
        """
        self.space.fit(vectors, speakers)
        if isinstance(self.variant, Quantized):
            self.variant.fit(self.concepts(vectors), seed)

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:
        """Write ``config.json`` and ``model.safetensors``, in float16 with ``half``."""
        write_network(folder, self.config, self, half=half)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> ConceptModel:
        """Read what `save_pretrained` wrote, from a folder or hub id, in float32.

        Raises:
            UserError: if it is not a concept model, or weights are missing, damaged or of the wrong shape.
        """
        return read_network(name, ConceptConfig, cls, "a concept model")


def _new_variant(width: int, config: ConceptConfig) -> Regression | TwoTower | Quantized:
    variant = config.variant
    if isinstance(variant, RegressionConfig):
        return Regression(width, config.tower, variant)
    if isinstance(variant, TwoTowerConfig):
        return TwoTower(width, config.tower, variant)
    return Quantized(width, config.tower, variant)


def windows(count: int, context: int) -> Iterator[tuple[int, int, int]]:
    """Begin, end and first new position of windows over ``count`` positions; each position is new in one window.

    Every window but the first starts with half a context of positions of the one before.
    """
    done = 0
    while done < count:
        begin = max(0, done - context // 2)
        end = min(begin + context, count)
        yield begin, end, done
        done = end
