"""wav2vec 2.0: tell the quantized frame behind a mask from those of other masked frames. Baevski et al. 2020."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.encoders.pretraining.folder import save_encoder
from speechkit.encoders.pretraining.frames import EDGE, HOP_SAMPLES, frame_mask, sample_mask
from speechkit.encoders.pretraining.masking import negatives, span_masks


class ContrastiveObjective:
    """The contrastive loss over quantized targets and the diversity of the codebooks (equations 2 to 4).

    Args:
        network: a ``Wav2Vec2ForPreTraining``.
        seed: of masks and negatives.
        start_share: of frames that begin a masked span.
        span: frames of a span.
        temperatures: of the Gumbel softmax: first, last, and the factor of one batch to the next.
    """

    def __init__(
        self,
        network: Any,
        seed: int,
        start_share: float = 0.065,
        span: int = 10,
        temperatures: tuple[float, float, float] = (2.0, 0.5, 0.99995),
    ):
        self.network: nn.Module = network
        self._seed = seed
        self._start_share, self._span, self._temperatures = start_share, span, temperatures

    def groups(self) -> list[list[nn.Parameter]]:
        """All in one."""
        return [list(self.network.parameters())]

    def prepare(self, batch: dict[str, Tensor], number: int) -> dict[str, Tensor]:
        """What is masked and drawn for this number, and how soft the choice of codes is."""
        frames = (batch["lengths"] // HOP_SAMPLES).tolist()
        generator = np.random.default_rng([self._seed, 3, number])
        mask = span_masks(frames, self._start_share, self._span, generator)
        count = int(self.network.config.num_negatives)  # type: ignore[union-attr, arg-type]
        first, last, factor = self._temperatures
        return {
            **batch,
            "mask": torch.from_numpy(mask),
            "negatives": torch.from_numpy(negatives(mask, count, generator)),
            "temperature": torch.tensor(max(last, first * factor**number)),
        }

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Per masked frame; the diversity counts a tenth, as the configuration says."""
        inner: Any = getattr(model, "module", model)
        inner.set_gumbel_temperature(float(batch["temperature"]))
        answer = model(
            F.pad(batch["inputs"], (EDGE, EDGE)),
            attention_mask=sample_mask(batch["lengths"]),
            mask_time_indices=batch["mask"],
            sampled_negative_indices=batch["negatives"],
        )
        masked = batch["mask"].sum().clamp(min=1)
        with torch.no_grad():
            inside = frame_mask(batch["lengths"])
            found, wanted = answer.projected_states.float(), answer.projected_quantized_states.float()
            cosine = F.cosine_similarity(found, wanted, dim=-1)[batch["mask"] & inside].mean()
        values = {
            "contrastive": float(answer.contrastive_loss.detach() / masked),
            "diversity": float(answer.diversity_loss.detach() / masked),
            "codevector_perplexity": float(answer.codevector_perplexity.detach()),
            "cosine": float(cosine),
        }
        return answer.loss / masked, values

    def save(self, folder: Path, half: bool = False) -> None:
        """The encoder without quantizer and projections."""
        inner: Any = self.network
        save_encoder(inner.wav2vec2, folder, half)
