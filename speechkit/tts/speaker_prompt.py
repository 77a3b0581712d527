"""A recording of the target speaker as a condition of a flow.

Notation used for tensor shapes: B batch, S samples, W width of the transformer.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.tts.speaker import SpeakerEncoder, check_reference
from speechkit.tts.vocoder.config import SpeakerConfig


class SpeakerPrompt(nn.Module):
    """Speaker encoder, trained with the flow: recordings (B, S) -> vectors (B, W)."""

    def __init__(self, config: SpeakerConfig, width: int):
        super().__init__()
        self.encoder = SpeakerEncoder(config)
        self.proj = nn.Linear(config.dim, width)

    def forward(self, prompts: Tensor) -> Tensor:
        """See the class."""
        vectors: Tensor = self.proj(self.encoder(prompts))
        return vectors


def prompt_batch(encoder: SpeakerPrompt | None, recording: Float | None, rate: int, name: str) -> Tensor | None:
    """A recording (S,) as a batch (1, S) for the model ``name``; None for a model of a single voice.

    Raises:
        UserError: if a model of many voices has no recording, or a model of a single voice has one.
        AudioError: if the recording is too short or silent.
    """
    if encoder is None:
        if recording is not None:
            raise UserError(f"{name}: has one voice; leave the speaker out")
        return None
    if recording is None:
        raise UserError(f"{name}: has many voices; give a recording of the speaker")
    check_reference(recording, rate)
    return torch.from_numpy(np.asarray(recording, np.float32))[None].to(encoder.proj.weight.device)
