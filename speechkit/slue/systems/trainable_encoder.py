"""An encoder inside a model that is trained: all layers with gradients, exact under padding.

Notation used for tensor shapes: B utterances, S samples with their edges, T frames of 20 ms, L layers, D width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from speechkit.encoders.huggingface import EDGE_SAMPLES, WAVEFORM_FAMILIES, load_checkpoint
from speechkit.encoders.layers import recorded
from speechkit.encoders.load import checkpoint_name
from speechkit.encoders.padding import guard
from speechkit.encoders.spec import HOP_SAMPLES
from speechkit.errors import UserError


class TrainableEncoder(nn.Module):
    """A wav2vec 2.0, HuBERT, WavLM or data2vec-audio checkpoint; the convolutions stay as they are.

    Args:
        name: ``embedded``, a hub id or a folder.

    Raises:
        ConfigError: if it has no weights, as ``mfcc``.
        UserError: if it cannot be loaded or takes features instead of waveforms.
    """

    def __init__(self, name: str):
        super().__init__()
        network, extractor, family = load_checkpoint(checkpoint_name(name))
        if family not in WAVEFORM_FAMILIES:
            raise UserError(
                f"{name}: a {family} encoder can be used frozen only; choose {', '.join(WAVEFORM_FAMILIES)}"
            )
        network.feature_extractor._freeze_parameters()
        # A dropped layer would leave a hole in the weighted sum; masks are drawn from the seed of the batch instead.
        network.config.layerdrop = 0.0
        network.config.apply_spec_augment = False
        self.network: Any = network
        self.extractor: Any = extractor
        self.standardizes = extractor is None or bool(getattr(extractor, "do_normalize", True))
        self.lengths = guard(network)

    def ready(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """A waveform as the network takes it: standardised where it was trained so, with silent edges."""
        if self.standardizes and len(waveform):
            waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
        return np.pad(np.asarray(waveform, np.float32), (EDGE_SAMPLES, EDGE_SAMPLES))

    def forward(self, waveforms: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Zero-padded waveforms (B, S) with their samples (B,) to layers (B, L + 1, T, D) and frames (B,)."""
        frames = (samples - 2 * EDGE_SAMPLES) // HOP_SAMPLES
        mask = torch.arange(waveforms.shape[1], device=waveforms.device)[None] < samples[:, None]
        self.lengths.samples, self.lengths.frames = samples, frames
        try:
            with recorded(self.network.encoder) as states:
                last = self.network(waveforms, attention_mask=mask.long()).last_hidden_state
        finally:
            self.lengths.samples = self.lengths.frames = None
        # Some encoders norm the last state outside of its layer.
        states[-1] = last
        return torch.stack(states, dim=1)[:, :, : int(frames.max())], frames

    def save(self, folder: Path) -> None:
        """Write a folder that `speechkit.encoders.load_encoder` reads."""
        self.network.save_pretrained(folder)
        if self.extractor is not None:
            self.extractor.save_pretrained(folder)
