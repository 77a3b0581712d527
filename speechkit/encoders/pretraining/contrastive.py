"""wav2vec 2.0: tell the quantized frame behind a mask from those of other masked frames. Baevski et al. 2020.

The modules are those of transformers. The loss is our own: theirs quantizes and compares every frame, masked or not,
and lays out a copy of the target for each of its negatives, which is half of the time of a small network's step.

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

LEAST = 1e-7


class Contrast(nn.Module):
    """The losses of a ``Wav2Vec2ForPreTraining`` on masked frames alone."""

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
        """Waveforms (B, S), ``mask`` (B, T) and ``negatives`` (B, T, count) to means over masked frames."""
        mask = batch["mask"]
        with capture_outputs(self.encoder.network.feature_projection) as projected:
            (hidden,), frames = self.encoder(batch["inputs"], batch["lengths"], LAST, mask_time_indices=mask)
        found = self.project_hid(hidden[mask])  # (N, D)
        seen = self.dropout_features(projected[0][1][mask])
        scores = self.quantizer.weight_proj(seen).float()
        scores = scores.view(len(scores), self.quantizer.num_groups, -1)  # (N, G, V)
        chosen = self._choices(scores, float(batch["temperature"]))
        wanted = self.project_q(self._vectors(chosen))  # (N, D)
        place = (mask.flatten().cumsum(0) - 1)[batch["negatives"][mask]]  # (N, count), from frames to masked frames
        shares = (scores.softmax(-1) if self.training else chosen).mean(dim=0)
        # A code that no frame takes has a share of zero, whose logarithm has no gradient.
        perplexity = torch.exp(-(shares * (shares + LEAST).log()).sum(-1)).sum()
        codes = shares.numel()
        return {
            "contrastive": contrastive_loss(
                found,
                wanted,
                None if self._equal_negatives else chosen.argmax(-1),
                place,
                self.config.contrastive_logits_temperature,
            ),
            "diversity": (codes - perplexity) / codes,
            "codevector_perplexity": perplexity,
            "features": self._restraint.mean_square(frames),
            "cosine": F.cosine_similarity(found.float(), wanted.float(), dim=-1).mean(),
        }

    def _choices(self, scores: Tensor, temperature: float) -> Tensor:
        """One code of each codebook, as ones and zeros (N, G, V); drawn while training."""
        if self.training:
            return F.gumbel_softmax(scores, tau=temperature, hard=True)
        return F.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)

    def _vectors(self, chosen: Tensor) -> Tensor:
        """The codes' vectors, one codebook's beside the other's: (N, G, V) to (N, D)."""
        count, groups, codes = chosen.shape
        vectors = self.quantizer.codevectors.view(groups, codes, -1)
        return torch.einsum("ngv,gvd->ngd", chosen.to(vectors.dtype), vectors).reshape(count, -1)


def contrastive_loss(found: Tensor, wanted: Tensor, codes: Tensor | None, place: Tensor, temperature: float) -> Tensor:
    """Mean over masked frames of the cross-entropy of the true target among its negatives (equation 3).

    Args:
        found: what the network says (N, D).
        wanted: quantized targets (N, D).
        codes: of the targets (N, G): a negative with the very codes of the target does not count. None counts all.
        place: of the negatives of each (N, count).
        temperature: the cosine is divided by.
    """
    with torch.autocast(found.device.type, enabled=False):
        cosines = F.normalize(found.float(), dim=-1) @ F.normalize(wanted.float(), dim=-1).T / temperature  # (N, N)
        others = cosines.gather(1, place)
        if codes is not None:
            others = others.masked_fill((codes[place] == codes[:, None]).all(-1), -torch.inf)
        logits = torch.cat([cosines.diagonal()[:, None], others], dim=1)
        return -logits.log_softmax(-1)[:, 0].mean()


class ContrastiveObjective:
    """The contrastive loss over quantized targets and the diversity of the codebooks (equations 2 to 4).

    Args:
        network: a ``Wav2Vec2ForPreTraining``; its configuration says what the diversity weighs.
        seed: of masks and negatives.
        start_share: of frames that begin a masked span.
        span: frames of a span.
        temperatures: of the Gumbel softmax: first, last, and the factor of one batch to the next.
        equal_negatives: negatives count even if their codes are those of the target. Where they do not, as in the
            published code, the loss is least when all frames take one code, and only the diversity stands against it;
            in small batches it does not stand. Where they do, codes that fall together cost.
        feature_gradient: what the gradients of the convolutions are multiplied by.
        feature_penalty: weight of the mean square of what the convolutions give.
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
        self.network: Contrast = Contrast(network, encoder, self._restraint, equal_negatives)
        self._seed = seed
        self._start_share, self._span, self._temperatures = start_share, span, temperatures

    def groups(self) -> list[list[nn.Parameter]]:
        """All in one."""
        return [list(self.network.parameters())]

    def prepare(self, batch: dict[str, Tensor], number: int) -> dict[str, Tensor]:
        """What is masked and drawn for this number, and how soft the choice of codes is."""
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
        """Per masked frame; diversity and the size of features count as they are weighted."""
        parts = model(batch)
        weight = float(self.network.config.diversity_loss_weight)
        loss: Tensor = parts["contrastive"] + weight * parts["diversity"] + self._restraint.penalty * parts["features"]
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    def save(self, folder: Path, half: bool = False) -> None:
        """The encoder without quantizer and projections."""
        self.network.encoder.save(folder, half)
