"""wav2vec 2.0: contrastive prediction of the quantized frames behind masks. Baevski et al. 2020.

The modules are those of transformers. The loss is our own, restricted to masked frames: theirs quantizes and compares
all frames and copies the target for each negative, which takes half of a step's time with a small network.

Notation used for array shapes: B items, T frames, N masked frames of all items, G codebooks, V codes of each, D width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.encoders.families.waveform import WaveformEncoder
from speechkit.encoders.layers import capture_outputs
from speechkit.encoders.model import LAST
from speechkit.encoders.pretraining.feature_restraint import FeatureRestraint
from speechkit.encoders.pretraining.masking import negatives, span_masks

EPSILON = 1e-7


class ContrastiveModel(nn.Module):
    """The losses of a ``Wav2Vec2ForPreTraining``, computed on masked frames only."""

    def __init__(
        self, network: Any, encoder: WaveformEncoder, restraint: FeatureRestraint, equal_negatives: bool = False
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.quantizer, self.project_hid, self.project_q = network.quantizer, network.project_hid, network.project_q
        self.dropout_features = network.dropout_features
        self.config = network.config
        self._restraint = restraint
        self._equal_negatives = equal_negatives

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses and statistics, averaged over masked frames.

        Args:
            batch: waveforms ``inputs`` (B, S), ``lengths`` (B,), ``mask`` (B, T), ``negatives`` (B, T, count) and
                the ``temperature`` of the Gumbel softmax.
        """
        mask = batch["mask"]
        with capture_outputs(self.encoder.network.feature_projection) as projected:
            (hidden,), frames = self.encoder(batch["inputs"], batch["lengths"], LAST, mask_time_indices=mask)
        predicted = self.project_hid(hidden[mask])  # (N, D)
        features = self.dropout_features(projected[0][1][mask])
        scores = self.quantizer.weight_proj(features).float()
        scores = scores.view(len(scores), self.quantizer.num_groups, -1)  # (N, G, V)
        chosen = self._choices(scores, float(batch["temperature"]))
        targets = self.project_q(self._vectors(chosen))  # (N, D)
        negatives = (mask.flatten().cumsum(0) - 1)[batch["negatives"][mask]]  # (N, count), indices of masked frames
        shares = (scores.softmax(-1) if self.training else chosen).mean(dim=0)
        # An unused code has a share of zero, whose logarithm has no gradient.
        perplexity = torch.exp(-(shares * (shares + EPSILON).log()).sum(-1)).sum()
        codes = shares.numel()
        return {
            "contrastive": contrastive_loss(
                predicted,
                targets,
                None if self._equal_negatives else chosen.argmax(-1),
                negatives,
                self.config.contrastive_logits_temperature,
            ),
            "diversity": (codes - perplexity) / codes,
            "codevector_perplexity": perplexity,
            "features": self._restraint.mean_square(frames),
            "cosine": F.cosine_similarity(predicted.float(), targets.float(), dim=-1).mean(),
        }

    def _choices(self, scores: Tensor, temperature: float) -> Tensor:
        """One-hot codes of each codebook (N, G, V); sampled in training, the best otherwise."""
        if self.training:
            return F.gumbel_softmax(scores, tau=temperature, hard=True)
        return F.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)

    def _vectors(self, chosen: Tensor) -> Tensor:
        """Code vectors of all codebooks, concatenated: (N, G, V) to (N, D)."""
        count, groups, codes = chosen.shape
        vectors = self.quantizer.codevectors.view(groups, codes, -1)
        return torch.einsum("ngv,gvd->ngd", chosen.to(vectors.dtype), vectors).reshape(count, -1)


def contrastive_loss(
    predicted: Tensor, targets: Tensor, codes: Tensor | None, negatives: Tensor, temperature: float
) -> Tensor:
    """Mean over masked frames of the cross-entropy of the true target among its negatives (equation 3).

    Args:
        predicted: outputs of the network (N, D).
        targets: quantized targets (N, D).
        codes: of the targets (N, G); negatives with the same codes as the target are left out. None keeps all.
        negatives: indices of the negatives of each frame (N, count).
        temperature: divides the cosines.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        cosines = F.normalize(predicted.float(), dim=-1) @ F.normalize(targets.float(), dim=-1).T / temperature
        others = cosines.gather(1, negatives)
        if codes is not None:
            others = others.masked_fill((codes[negatives] == codes[:, None]).all(-1), -torch.inf)
        logits = torch.cat([cosines.diagonal()[:, None], others], dim=1)
        return -logits.log_softmax(-1)[:, 0].mean()


class ContrastiveObjective:
    """The contrastive loss over quantized targets and the diversity of the codebooks (equations 2 to 4).

    Args:
        network: a ``Wav2Vec2ForPreTraining``; the diversity weight is that of its configuration.
        seed: of masks and negatives.
        start_share: share of frames that begin a masked span.
        span: frames of a span.
        temperatures: of the Gumbel softmax: first, last, and decay factor per batch.
        equal_negatives: whether negatives with the codes of the target are kept. Without them, as in the published
            code, the contrastive loss is minimal when all frames share one code, and only the diversity loss prevents
            this collapse, which in small batches is not enough.
        feature_gradient: factor of the gradients of the convolutions.
        feature_penalty: weight of the mean square of the convolutions' output.
    """

    def __init__(
        self,
        network: Any,
        seed: int,
        start_share: float = 0.065,
        span: int = 10,
        temperatures: tuple[float, float, float] = (2.0, 0.5, 0.99995),
        equal_negatives: bool = False,
        feature_gradient: float = 0.1,
        feature_penalty: float = 10.0,
    ):
        encoder = WaveformEncoder(network.wav2vec2)
        self._restraint = FeatureRestraint(encoder, feature_gradient, feature_penalty)
        self.network: ContrastiveModel = ContrastiveModel(network, encoder, self._restraint, equal_negatives)
        self._seed = seed
        self._start_share, self._span, self._temperatures = start_share, span, temperatures

    def groups(self) -> list[list[nn.Parameter]]:
        """All parameters in one group."""
        return [list(self.network.parameters())]

    def prepare(self, batch: dict[str, Tensor], number: int) -> dict[str, Tensor]:
        """Add the masks, negatives and temperature of batch ``number``."""
        frames = self.network.encoder.frame_lengths(batch["lengths"]).tolist()
        generator = np.random.default_rng([self._seed, 3, number])
        mask = span_masks(frames, self._start_share, self._span, generator)
        count = int(self.network.config.num_negatives)
        first, last, factor = self._temperatures
        return {
            **batch,
            "mask": torch.from_numpy(mask),
            "negatives": torch.from_numpy(negatives(mask, count, generator)),
            "temperature": torch.tensor(max(last, first * factor**number)),
        }

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Contrastive loss per masked frame plus the weighted diversity loss and feature penalty."""
        parts = model(batch)
        weight = float(self.network.config.diversity_loss_weight)
        loss: Tensor = parts["contrastive"] + weight * parts["diversity"] + self._restraint.penalty * parts["features"]
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    def save(self, folder: Path, half: bool = False) -> None:
        """Save the encoder without quantizer and projections."""
        self.network.encoder.save(folder, half)
