"""BERTScore: how alike two texts are to a text encoder, by greedy matching of the pieces' contextual embeddings.

Every piece of one text is matched with the piece of the other whose embedding has the highest cosine; precision is the
mean of these cosines over the summary's pieces, recall over the reference's. The marks that a tokenizer adds ([CLS],
[SEP]) may be matched and are not averaged over, as in the authors' package. Nothing is rescaled to a baseline, so that
figures lie close together near 1; only those of one model and layer can be compared.

Source: Zhang et al. 2020, BERTScore: Evaluating Text Generation with BERT, section 3.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from speechkit.errors import UserError
from speechkit.slue.metrics.measures import harmonic
from speechkit.slue.metrics.summaries import Similarity
from speechkit.slue.systems.text_models import load_text_model

if TYPE_CHECKING:
    from torch import Tensor

PAIRS_PER_BATCH = 16
LAYER_SHARE = 0.75
PUBLISHED_LAYERS = {"roberta-large": 17, "roberta-base": 10, "distilbert-base-uncased": 5}
"""Layers that the authors chose; that of `LAYER_SHARE` of the depth is theirs for BERT of both sizes."""
SPACED = ("roberta", "gpt2", "longformer")
"""Architectures whose pieces know whether a space stood before them; a text begins as if one did."""


class Pieces(msgspec.Struct, frozen=True):
    """A text's pieces with the marks that the tokenizer adds, and which are marks; ``cut`` if it was too long."""

    ids: list[int]
    marks: list[bool]
    cut: bool


class BertScorer:
    """BERTScore by a text encoder, by hub id or folder.

    Args:
        name: hub id or folder with ``config.json``, ``model.safetensors`` and a fast tokenizer.
        layer: whose output is compared, 0 (the embeddings) to the number of layers; where absent, the authors' choice
            for the model, or the layer at three quarters of its depth.
        idf: weigh pieces by how few of the references have them, instead of all alike.
        device: for the model.

    Raises:
        UserError: if the checkpoint is no text encoder, or has no such layer.
    """

    def __init__(self, name: str, *, layer: int | None = None, idf: bool = False, device: str = "cpu") -> None:
        self.model, self.tokenizer, self.positions = load_text_model(
            "AutoModel", "a text encoder", name, device, needed=lambda key: "pooler" not in key
        )
        layers = getattr(self.model.config, "num_hidden_layers", None)
        if self.model.config.is_encoder_decoder or not layers:
            raise UserError(
                f"{name}: is no text encoder ({self.model.config.model_type}); give one like roberta-large or "
                "bert-base-uncased"
            )
        if layer is None:
            layer = PUBLISHED_LAYERS.get(name.rpartition("/")[2], max(1, round(LAYER_SHARE * layers)))
        if not 0 <= layer <= layers:
            raise UserError(f"{name}: has no layer {layer}; give one of 0 to {layers}")
        self.name, self.layer, self.idf, self.device = name, layer, idf, device

    def __call__(self, references: Sequence[str], summaries: Sequence[str]) -> Similarity:
        """Precision, recall and F1 of each summary, (texts, 3); an empty text has 0.

        Raises:
            UserError: if pieces are to be weighed by fewer than two references.
        """
        gold, found = self._pieces(references), self._pieces(summaries)
        weights: Mapping[int, float] | None = None
        if self.idf:
            if len(gold) < 2:
                raise UserError(f"{len(gold)} reference cannot say which pieces are rare; leave --bertscore-idf out")
            weights = inverse_frequencies([text.ids for text in gold])
        unseen = math.log(len(gold) + 1)
        scores = np.zeros((len(gold), 3))
        # Pairs of like length stand in one batch; each is scored as if it were alone.
        order = sorted(range(len(gold)), key=lambda index: (len(gold[index].ids) + len(found[index].ids), index))
        for start in range(0, len(order), PAIRS_PER_BATCH):
            batch = order[start : start + PAIRS_PER_BATCH]
            embedded = self._embed([text[index].ids for text in (gold, found) for index in batch])
            for place, index in enumerate(batch):
                scores[index] = greedy_match(
                    *(embedded[place], embedded[len(batch) + place]),
                    *(_weights(text[index], weights, unseen) for text in (gold, found)),
                )
        cut = sum(text.cut for text in (*gold, *found))
        return Similarity(
            scores,
            f"{self.name}, layer {self.layer}, {'idf' if self.idf else 'no idf'}, not rescaled",
            [f"BERTScore reads {self.positions} pieces: the ends of {cut:,} texts are not compared"] if cut else [],
        )

    def _pieces(self, texts: Sequence[str]) -> list[Pieces]:
        space = " " if self.model.config.model_type in SPACED else ""
        spaced = [space + stripped if (stripped := text.strip()) else "" for text in texts]
        whole = self.tokenizer(spaced, verbose=False)["input_ids"]
        kept = self.tokenizer(spaced, return_special_tokens_mask=True, truncation=True, max_length=self.positions)
        return [
            Pieces(ids, [bool(mark) for mark in marks], len(ids) < len(all_ids))
            for all_ids, ids, marks in zip(whole, kept["input_ids"], kept["special_tokens_mask"], strict=True)
        ]

    def _embed(self, rows: Sequence[Sequence[int]]) -> list[Tensor]:
        """Embeddings (pieces, width) of length 1 of each text."""
        import torch

        longest = max(1, *(len(row) for row in rows))
        padding = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([[*row, *[padding] * (longest - len(row))] for row in rows])  # (B, T)
        real = torch.tensor([[place < max(1, len(row)) for place in range(longest)] for row in rows]).long()
        with torch.inference_mode():
            states = self.model(
                input_ids=ids.to(self.device), attention_mask=real.to(self.device), output_hidden_states=True
            ).hidden_states[self.layer]
        unit = torch.nn.functional.normalize(states.float(), dim=-1)  # (B, T, D)
        return [unit[index, : len(row)] for index, row in enumerate(rows)]


def inverse_frequencies(references: Sequence[Sequence[int]]) -> dict[int, float]:
    """log((n + 1) / (d + 1)) of each piece that d of the n references have."""
    having = Counter(piece for reference in references for piece in set(reference))
    return {piece: math.log((len(references) + 1) / (count + 1)) for piece, count in having.items()}


def greedy_match(
    reference: Tensor, summary: Tensor, reference_weights: Sequence[float], summary_weights: Sequence[float]
) -> tuple[float, float, float]:
    """Precision, recall and F1 of embeddings of length 1, (pieces, width), whose weights are at least 0.

    A text of no weight has nothing to compare: all three are 0.
    """
    import torch

    totals = sum(reference_weights), sum(summary_weights)
    if not min(totals):
        return 0.0, 0.0, 0.0
    cosines = summary @ reference.T  # (summary pieces, reference pieces)
    recall, precision = (
        float(best.double().cpu() @ torch.tensor(weights, dtype=torch.float64)) / total
        for best, weights, total in zip(
            (cosines.amax(0), cosines.amax(1)), (reference_weights, summary_weights), totals, strict=True
        )
    )
    return precision, recall, harmonic(precision, recall)


def _weights(text: Pieces, weights: Mapping[int, float] | None, unseen: float) -> list[float]:
    return [
        0.0 if mark else 1.0 if weights is None else weights.get(piece, unseen)
        for piece, mark in zip(text.ids, text.marks, strict=True)
    ]
