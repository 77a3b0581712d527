"""A large concept model: predicts the vector of the next speech segment from those of the preceding ones.

Notation used for tensor shapes: B documents, T places, D width of concepts.
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
    """Concept space, a causal reader of the concepts so far, and a predictor of the next one.

    Args:
        config: see there.
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

    def foresee(self, concepts: Tensor, generator: torch.Generator) -> Tensor:
        """Predict each concept from the preceding ones only: (B, T, D) -> (B, T, D)."""
        foreseen: Tensor = self.variant.foresee(self.reader(concepts), generator)
        return foreseen

    @torch.inference_mode()
    def foresee_document(self, concepts: Float, seed: int = 0) -> Float:
        """As `foresee` for a document (T, D) of any length, at least half the context before a place if there is."""
        device = self.space.mean.device
        rows = torch.from_numpy(concepts).to(device, self.space.mean.dtype)
        generator = torch.Generator().manual_seed(seed)
        pieces = []
        for begin, end, new in windows(len(rows), self.config.context):
            pieces.append(self.foresee(rows[None, begin:end], generator)[0, new - begin :])
        found: Float = torch.cat(pieces).cpu().float().numpy()
        return found

    @torch.inference_mode()
    def go_on(self, concepts: Float, count: int, seed: int = 0) -> Float:
        """So many concepts (count, D) behind some (T, D), each foreseen from all before it, drawn ones among them."""
        rows = torch.from_numpy(concepts).to(self.space.mean)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(count):
            asked = torch.cat([rows[-(self.config.context - 1) :], rows.new_zeros(1, rows.shape[1])])
            rows = torch.cat([rows, self.foresee(asked[None], generator)[0, -1:]])
        found: Float = rows[len(concepts) :].cpu().float().numpy()
        return found

    @torch.inference_mode()
    def concepts(self, vectors: Float) -> Float:
        """Means of frames (T, D) in concept space (T, D).

        Raises:
            UserError: if they are of another width.
        """
        if vectors.shape[-1] != self.config.encoder.dim:
            raise UserError(
                f"vectors are {vectors.shape[-1]} wide, the model takes those of {self.config.encoder.model}, "
                f"{self.config.encoder.dim} wide"
            )
        found: Float = self.space(torch.from_numpy(vectors).to(self.space.mean)).cpu().float().numpy()
        return found

    @torch.no_grad()
    def fit(self, vectors: Float, speakers: Sequence[str], seed: int) -> None:
        """Fit what is not trained by gradients: the space, and books of codes.

        Raises:
            UserError: if there are too few speakers or vectors for them.
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
            UserError: if it is no concept model, or weights are missing, damaged or of other sizes.
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
    """Begin, end and first new place of windows over ``count`` places; each place is new once.

    Windows behind the first read the last half of the context again.
    """
    done = 0
    while done < count:
        begin = max(0, done - context // 2)
        end = min(begin + context, count)
        yield begin, end, done
        done = end


def parameter_count(model: ConceptModel) -> int:
    """Number of parameters trained by gradients."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad)
