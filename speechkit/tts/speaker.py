"""Speaker vectors: a small encoder over log-mel frames, trained jointly with the model that it conditions.

An unseen speaker is represented by any recording of theirs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from speechkit.errors import AudioError
from speechkit.io.arrays import Float
from speechkit.nn.convnext import ConvNeXtBlock
from speechkit.nn.masks import length_mask
from speechkit.nn.mel import MelSpectrogram
from speechkit.tts.vocoder.config import SpeakerConfig

SHORTEST_SECONDS = 0.5
"""Shortest reference recording: less does not characterise a voice."""
SILENT = 1e-3
"""A reference whose peak amplitude is below this is silent."""


class SpeakerEncoder(nn.Module):
    """ConvNeXt blocks over log-mel frames, followed by attentive statistics pooling.

    The recording's overall level is subtracted, so that the vector does not depend on its loudness; the spectral shape,
    each channel's mean, is kept.

    Shapes: B items, S samples, M mel frames, E width of the vector.
    Source: attentive statistics pooling after Okabe et al. 2018.
    """

    def __init__(self, config: SpeakerConfig | None = None):
        super().__init__()
        self.config = config = config or SpeakerConfig()
        self.mel = MelSpectrogram(config.mel)
        self.input = nn.Conv1d(config.mel.channels, config.width, 5, padding=2)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(config.width, config.inner, scale=1.0 / config.layers) for _ in range(config.layers)
        )
        self.attention = nn.Linear(config.width, config.width)
        self.output = nn.Linear(2 * config.width, config.dim)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Waveforms (B, S) at the rate of ``config.mel``, zero-padded after ``lengths`` (B,) -> vectors (B, E)."""
        with torch.no_grad():
            mel = self.mel(waveforms)  # (B, M, channels)
        inside = None
        if lengths is not None:
            frames = (lengths // self.config.mel.hop_samples).clamp_min(1)
            inside = length_mask(frames, mel.shape[1])[:, :, None].to(mel.dtype)
        weight = torch.ones_like(mel[:, :, :1]) if inside is None else inside
        level = (mel * weight).mean((1, 2), keepdim=True) / weight.mean((1, 2), keepdim=True)
        x = (mel - level) * weight
        x = self.input(x.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x, inside)
        scores = self.attention(x).float()
        if inside is not None:
            scores = scores.masked_fill(inside == 0, -1e4)
        attention = scores.softmax(1)
        mean = (attention * x).sum(1)
        deviation = ((attention * x.square()).sum(1) - mean.square()).clamp_min(1e-5).sqrt()
        vectors: Tensor = self.norm(self.output(torch.cat([mean, deviation], 1)))
        return vectors

    @torch.inference_mode()
    def embed(self, waveform: Float) -> Float:
        """The vector (E,) of a reference recording (S,).

        Raises:
            AudioError: if it is too short or silent.
        """
        check_reference(waveform, self.config.mel.sample_rate)
        device = self.output.weight.device
        vector: Float = self(torch.from_numpy(np.asarray(waveform, np.float32))[None].to(device))[0].cpu().numpy()
        return vector


def check_reference(waveform: Float, sample_rate: int) -> None:
    """Refuse a reference recording that is too short or silent.

    Raises:
        AudioError: giving the reason.
    """
    seconds = len(waveform) / sample_rate
    if seconds < SHORTEST_SECONDS:
        raise AudioError(
            f"the speaker's recording has {seconds:.2f} s; give at least {SHORTEST_SECONDS:g} s, preferably 3 to 10"
        )
    if not float(np.abs(waveform).max()) > SILENT:
        raise AudioError("the speaker's recording is silent; give one in which the speaker is audible")
