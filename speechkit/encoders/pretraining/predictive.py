"""HuBERT: predict the cluster of every masked frame, and of seen ones if asked. Hsu et al. 2021."""

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


class Predictor(nn.Module):
    """An encoder whose frames are compared with one vector a cluster (equation 3)."""

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
    """Cross-entropy of the clusters of masked frames, and of those that the encoder sees (equation 2).

    Args:
        encoder: a ``Wav2Vec2Model`` or ``HubertModel``.
        clusters: number of clusters.
        targets: from the number of an item to the cluster of each of its frames.
        seed: of masks.
        start_share: of frames that begin a masked span; 0.08 in the paper.
        span: frames of a span.
        seen_weight: of the loss on frames that are not masked, from 0 to 1; masked ones have the rest. None in the
            paper's best models; in a short training it is what the convolutions learn from first.
        feature_gradient: what the gradients of the convolutions are multiplied by.
        feature_penalty: weight of the mean square of what the convolutions give.
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
            raise ConfigError(f"seen_weight is {seen_weight}, it must lie from 0 to 1")
        self._encoder = WaveformEncoder(encoder)
        self._encoder.spec.require_rates("clusters of frames", 50)
        self._restraint = FeatureRestraint(self._encoder, feature_gradient, feature_penalty)
        self.network: Predictor = Predictor(self._encoder, clusters)
        self._targets = targets
        self._seed, self._start_share, self._span = seed, start_share, span
        self._seen_weight = seen_weight

    def groups(self) -> list[list[nn.Parameter]]:
        """All in one."""
        return [list(self.network.parameters())]

    def prepare(self, batch: dict[str, Tensor], number: int) -> dict[str, Tensor]:
        """The masks of this number, and the targets (B, T), IGNORED behind an item's end."""
        frames = self._encoder.frame_lengths(batch["lengths"]).tolist()
        mask = span_masks(frames, self._start_share, self._span, np.random.default_rng([self._seed, 3, number]))
        wanted = np.full(mask.shape, IGNORED, np.int64)
        for row, (item, begin) in enumerate(zip(batch["items"].tolist(), batch["begins"].tolist(), strict=True)):
            known = self._targets(item)[begin // self._encoder.hop :][: frames[row]]
            wanted[row, : len(known)] = known
        return {**batch, "mask": torch.from_numpy(mask), "targets": torch.from_numpy(wanted)}

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Means over masked and over seen frames, weighted; the accuracies of both."""
        logits = model(batch["inputs"], batch["lengths"], batch["mask"])
        frames = self._encoder.frame_lengths(batch["lengths"])
        known = length_mask(frames, logits.shape[1]) & (batch["targets"] != IGNORED)
        parts = {}
        for name, chosen in (("masked", batch["mask"] & known), ("seen", ~batch["mask"] & known)):
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
        """The encoder without the codes."""
        self._encoder.save(folder, half)
