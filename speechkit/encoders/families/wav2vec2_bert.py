"""Wav2Vec2-BERT: a conformer over pairs of log-mel frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechkit.encoders.families import register
from speechkit.encoders.model import SpeechEncoder, unpadded
from speechkit.encoders.spec import EncoderSpec
from speechkit.encoders.transformers_encoder import TransformersEncoder, load_transformers
from speechkit.nn.masks import length_mask

WINDOW_SAMPLES, STEP_SAMPLES = 400, 160


class BertEncoder(TransformersEncoder):
    """A ``Wav2Vec2BertModel`` on features of each item, with bands standardised over the item."""

    @staticmethod
    def transformer_of(network: Any) -> Any:
        """See `TransformersEncoder`."""
        return network.encoder

    def exact(self, waveforms: Tensor, lengths: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        """See `TransformersEncoder`."""
        features = []
        edge = (WINDOW_SAMPLES - STEP_SAMPLES) // 2
        counts = self.frame_lengths(lengths.cpu())
        for item, count in zip(unpadded(waveforms, lengths), counts.tolist(), strict=True):
            # The edges are filled so that every hop has its windows, and no more; stock features are of the item as is.
            extracted = self.extractor(
                item if self.spec.compat else np.pad(item[: count * self.hop], (edge, edge)),
                sampling_rate=self.spec.sample_rate,
                return_tensors="pt",
                padding=bool(self.spec.compat),
            )
            features.append(extracted["input_features"][0][:count])
        inputs = torch.nn.utils.rnn.pad_sequence(features, batch_first=True).to(self.device)
        mask = length_mask(counts, inputs.shape[1]).long()
        return self.network(inputs, attention_mask=mask.to(self.device)).last_hidden_state, counts

    @property
    def overlap(self) -> int:
        """See `SpeechEncoder`."""
        return WINDOW_SAMPLES - STEP_SAMPLES if self.spec.compat else 0

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """See `SpeechEncoder`; of ``compat`` as the stock mask counts: frames whose second log-mel frame is real."""
        if not self.spec.compat:
            return super().frame_lengths(lengths)
        mels, stride = (lengths - WINDOW_SAMPLES) // STEP_SAMPLES + 1, self.hop // STEP_SAMPLES
        # The extractor pads an odd number of mel frames by one, and drops an incomplete last frame.
        return torch.minimum((mels + mels % 2) // stride, (mels - 2) // stride + 1).clamp(min=0)


@register("wav2vec2-bert")
def load(name: str, layer: int | None, compat: bool) -> SpeechEncoder:
    """A checkpoint; see `speechkit.encoders.families.Load`."""
    network, extractor, weights = load_transformers(name, layer, needs_extractor=True)
    spec = EncoderSpec(
        f"wav2vec2-bert {Path(name).name}",
        weights,
        "",
        "stacked log-mel, each band standardised",
        int(network.config.hidden_size),
        sample_rate=int(extractor.sampling_rate),
        hop=STEP_SAMPLES * int(extractor.stride),
        compat=compat,
    )
    return BertEncoder(network, extractor, spec)
