"""BERTScore: similarity of two texts by greedy matching of contextual token embeddings.

Each token of one text is matched to the token of the other with the highest cosine; precision is the mean of these
cosines over the summary's tokens, recall over the reference's. Special tokens ([CLS], [SEP]) can be matched but are not
averaged over, as in the authors' package. Scores are not rescaled with a baseline, so they are close to 1; compare only
scores of the same model and layer.

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
DEFAULT_RELATIVE_DEPTH = 0.75
PUBLISHED_LAYERS = {"roberta-large": 17, "roberta-base": 10, "distilbert-base-uncased": 5}
"""Layers chosen by the authors; for both sizes of BERT they are at `DEFAULT_RELATIVE_DEPTH`."""
SPACE_AWARE = ("roberta", "gpt2", "longformer")
"""Architectures whose tokens encode a preceding space; texts get a leading space."""


class EncodedText(msgspec.Struct, frozen=True):
    """Token ids of a text, which of them are special tokens, and whether the text was truncated."""

    ids: list[int]
    special: list[bool]
    truncated: bool


class BertScorer:
    """BERTScore with a text encoder given by hub id or folder.

    Args:
        name: hub id or folder with ``config.json``, ``model.safetensors`` and a fast tokenizer.
        layer: layer whose output is compared, from 0 (the embeddings) to the number of layers; default: the authors'
            choice for the model, or the layer at three quarters of its depth.
        idf: weight tokens by inverse document frequency over the references.
        device: device of the model.

    Raises:
        UserError: if the checkpoint is not a text encoder, or has no such layer.
    """

    def __init__(self, name: str, *, layer: int | None = None, idf: bool = False, device: str = "cpu") -> None:
        self.model, self.tokenizer, self.positions = load_text_model(
            "AutoModel", "a text encoder", name, device, needed=lambda key: "pooler" not in key
        )
        layers = getattr(self.model.config, "num_hidden_layers", None)
        if self.model.config.is_encoder_decoder or not layers:
            raise UserError(
                f"{name}: not a text encoder ({self.model.config.model_type}); use one such as roberta-large or "
                "bert-base-uncased"
            )
        if layer is None:
            layer = PUBLISHED_LAYERS.get(name.rpartition("/")[2], max(1, round(DEFAULT_RELATIVE_DEPTH * layers)))
        if not 0 <= layer <= layers:
            raise UserError(f"{name}: no layer {layer}; choose a layer from 0 to {layers}")
        self.name, self.layer, self.idf, self.device = name, layer, idf, device

    def __call__(self, references: Sequence[str], summaries: Sequence[str]) -> Similarity:
        """Precision, recall and F1 of each summary, (texts, 3); 0 for an empty text.

        Raises:
            UserError: if idf weights are requested with fewer than two references.
        """
        reference_tokens, summary_tokens = self._encode(references), self._encode(summaries)
        weights: Mapping[int, float] | None = None
        if self.idf:
            if len(reference_tokens) < 2:
                raise UserError(
                    f"idf weights need at least two references, not {len(reference_tokens)}; drop --bertscore-idf"
                )
            weights = inverse_frequencies([text.ids for text in reference_tokens])
        unseen = math.log(len(reference_tokens) + 1)
        scores = np.zeros((len(reference_tokens), 3))
        # Batches group pairs of similar length; batching does not change a pair's score.
        order = sorted(
            range(len(reference_tokens)),
            key=lambda index: (len(reference_tokens[index].ids) + len(summary_tokens[index].ids), index),
        )
        for start in range(0, len(order), PAIRS_PER_BATCH):
            batch = order[start : start + PAIRS_PER_BATCH]
            embedded = self._embed([text[index].ids for text in (reference_tokens, summary_tokens) for index in batch])
            for row, index in enumerate(batch):
                scores[index] = greedy_match(
                    *(embedded[row], embedded[len(batch) + row]),
                    *(_weights(text[index], weights, unseen) for text in (reference_tokens, summary_tokens)),
                )
        truncated = sum(text.truncated for text in (*reference_tokens, *summary_tokens))
        return Similarity(
            scores,
            f"{self.name}, layer {self.layer}, {'idf' if self.idf else 'no idf'}, not rescaled",
            [f"BERTScore reads {self.positions} tokens: {truncated:,} texts were truncated"] if truncated else [],
        )

    def _encode(self, texts: Sequence[str]) -> list[EncodedText]:
        space = " " if self.model.config.model_type in SPACE_AWARE else ""
        spaced = [space + stripped if (stripped := text.strip()) else "" for text in texts]
        whole = self.tokenizer(spaced, verbose=False)["input_ids"]
        kept = self.tokenizer(spaced, return_special_tokens_mask=True, truncation=True, max_length=self.positions)
        return [
            EncodedText(ids, [bool(flag) for flag in special], len(ids) < len(all_ids))
            for all_ids, ids, special in zip(whole, kept["input_ids"], kept["special_tokens_mask"], strict=True)
        ]

    def _embed(self, rows: Sequence[Sequence[int]]) -> list[Tensor]:
        """Unit-norm embeddings (tokens, width) of each text."""
        import torch

        longest = max(1, *(len(row) for row in rows))
        padding = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([[*row, *[padding] * (longest - len(row))] for row in rows])  # (B, T)
        real = torch.tensor([[position < max(1, len(row)) for position in range(longest)] for row in rows]).long()
        with torch.inference_mode():
            states = self.model(
                input_ids=ids.to(self.device), attention_mask=real.to(self.device), output_hidden_states=True
            ).hidden_states[self.layer]
        unit = torch.nn.functional.normalize(states.float(), dim=-1)  # (B, T, D)
        return [unit[index, : len(row)] for index, row in enumerate(rows)]


def inverse_frequencies(references: Sequence[Sequence[int]]) -> dict[int, float]:
    """log((n + 1) / (d + 1)) of each token that occurs in d of the n references."""
    document_counts = Counter(token for reference in references for token in set(reference))
    return {token: math.log((len(references) + 1) / (count + 1)) for token, count in document_counts.items()}


def greedy_match(
    reference: Tensor, summary: Tensor, reference_weights: Sequence[float], summary_weights: Sequence[float]
) -> tuple[float, float, float]:
    """Precision, recall and F1 of unit-norm embeddings (tokens, width) with non-negative token weights.

    All three are 0 if the weights of either text sum to 0.
    """
    import torch

    totals = sum(reference_weights), sum(summary_weights)
    if not min(totals):
        return 0.0, 0.0, 0.0
    cosines = summary @ reference.T  # (summary tokens, reference tokens)
    recall, precision = (
        float(best.double().cpu() @ torch.tensor(weights, dtype=torch.float64)) / total
        for best, weights, total in zip(
            (cosines.amax(0), cosines.amax(1)), (reference_weights, summary_weights), totals, strict=True
        )
    )
    return precision, recall, harmonic(precision, recall)


def _weights(text: EncodedText, weights: Mapping[int, float] | None, unseen: float) -> list[float]:
    return [
        0.0 if special else 1.0 if weights is None else weights.get(token, unseen)
        for token, special in zip(text.ids, text.special, strict=True)
    ]
