"""HuBERT: predict the cluster of masked frames, and optionally of unmasked ones. Hsu et al. 2021."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from numpy.typing import NDArray
from torch import Tensor, nn

from speechkit.encoders.families.waveform import WaveformEncoder
from speechkit.encoders.model import LAST
from speechkit.encoders.pretraining.feature_restraint import FeatureRestraint
from speechkit.encoders.pretraining.masking import span_masks
from speechkit.errors import ConfigError
from speechkit.nn.masks import length_mask

CODE_WIDTH = 256
TEMPERATURE = 0.1
IGNORED = -100


class ClusterPredictor(nn.Module):
    """An encoder with logits by the cosine of each frame with an embedding of each cluster (equation 3)."""

    def __init__(self, encoder: WaveformEncoder, clusters: int):
        super().__init__()
        self.encoder = encoder
        self.project = nn.Linear(encoder.spec.dim, CODE_WIDTH)
        self.codes = nn.Parameter(torch.empty(clusters, CODE_WIDTH).uniform_(-1, 1))

    def forward(self, waveforms: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """(B, S), samples (B,) and masked frames (B, T) to logits (B, T, clusters)."""
        (hidden,), _ = self.encoder(waveforms, lengths, LAST, mask_time_indices=mask)
        projected = F.normalize(self.project(hidden).float(), dim=-1)
        logits: Tensor = projected @ F.normalize(self.codes, dim=-1).T / TEMPERATURE
        return logits


class PredictiveObjective:
    """Cross-entropy of the clusters of masked frames, and optionally of unmasked ones (equation 2).

    Args:
        encoder: a ``Wav2Vec2Model`` or ``HubertModel``.
        clusters: number of clusters.
        targets: from the index of an item to the cluster of each of its frames.
        seed: of masks.
        start_share: share of frames that begin a masked span; 0.08 in the paper.
        span: frames of a span.
        seen_weight: weight of the loss on unmasked frames, 0 to 1; masked frames have the rest. 0 in the paper's best
            models; in a short training the convolutions learn from these frames first.
        feature_gradient: factor of the gradients of the convolutions.
        feature_penalty: weight of the mean square of the convolutions' output.
    """

    def __init__(
        self,
        encoder: Any,
        clusters: int,
        targets: Callable[[int], NDArray[np.integer[Any]]],
        seed: int,
        start_share: float = 0.08,
        span: int = 10,
        seen_weight: float = 0.0,
        feature_gradient: float = 0.1,
        feature_penalty: float = 10.0,
    ):
        if not 0 <= seen_weight <= 1:
            raise ConfigError(f"seen_weight is {seen_weight}; give a value from 0 to 1")
        self._encoder = WaveformEncoder(encoder)
        self._encoder.spec.require_rates("clusters of frames", 50)
        self._restraint = FeatureRestraint(self._encoder, feature_gradient, feature_penalty)
        self.network: ClusterPredictor = ClusterPredictor(self._encoder, clusters)
        self._targets = targets
        self._seed, self._start_share, self._span = seed, start_share, span
        self._seen_weight = seen_weight

    def groups(self) -> list[list[nn.Parameter]]:
        """All parameters in one group."""
        return [list(self.network.parameters())]

    def prepare(self, batch: dict[str, Tensor], number: int) -> dict[str, Tensor]:
        """Add the masks of batch ``number`` and the targets (B, T), IGNORED after the end of an item."""
        frames = self._encoder.frame_lengths(batch["lengths"]).tolist()
        mask = span_masks(frames, self._start_share, self._span, np.random.default_rng([self._seed, 3, number]))
        targets = np.full(mask.shape, IGNORED, np.int64)
        for row, (item, begin) in enumerate(zip(batch["items"].tolist(), batch["begins"].tolist(), strict=True)):
            clusters = self._targets(item)[begin // self._encoder.hop :][: frames[row]]
            targets[row, : len(clusters)] = clusters
        return {**batch, "mask": torch.from_numpy(mask), "targets": torch.from_numpy(targets)}

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Weighted mean losses of masked and unmasked frames, and the accuracies of both."""
        logits = model(batch["inputs"], batch["lengths"], batch["mask"])
        frames = self._encoder.frame_lengths(batch["lengths"])
        valid = length_mask(frames, logits.shape[1]) & (batch["targets"] != IGNORED)
        parts = {}
        for name, chosen in (("masked", batch["mask"] & valid), ("seen", ~batch["mask"] & valid)):
            right = (logits[chosen].argmax(-1) == batch["targets"][chosen]).float().mean()
            parts[name] = (F.cross_entropy(logits[chosen], batch["targets"][chosen]), float(right.detach()))
        loss = parts["masked"][0]
        if self._seen_weight:
            loss = (1 - self._seen_weight) * loss + self._seen_weight * parts["seen"][0]
        size = self._restraint.mean_square(frames)
        return loss + self._restraint.penalty * size, {
            "masked": float(parts["masked"][0].detach()),
            "features": float(size.detach()),
            **{f"{name}_accuracy": right for name, (_, right) in parts.items()},
        }

    def save(self, folder: Path, half: bool = False) -> None:
        """Save the encoder without the cluster embeddings."""
        self._encoder.save(folder, half)
