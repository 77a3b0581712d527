"""Log-mel and MFCC frames: encoders without weights, the baselines of every comparison."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from speechkit.encoders.families import register
from speechkit.encoders.model import ALL, SpeechEncoder, item_states, unpadded
from speechkit.encoders.spec import EncoderSpec
from speechkit.io.arrays import Float
from speechkit.nn.mel import mel_filters, power_spectrum

FFT_SAMPLES = 512
SAMPLE_RATE = 16_000
HOP_SAMPLES = 320
WINDOW_SAMPLES = 400
PADDING_SAMPLES = (FFT_SAMPLES - HOP_SAMPLES) // 2
"""Zeros before and after a waveform: a window then stands in the middle of its hop."""
POWER_FLOOR = 1e-8


class SignalFeatures(SpeechEncoder):
    """80 log-mel bands, or 13 cepstra with their first and second differences, a frame every 20 ms.

    The mean of each dimension over the item is subtracted (cepstral mean normalisation), which removes the
    microphone's response. Source of the cepstra: Davis and Mermelstein 1980.
    """

    def __init__(self, kind: Literal["log-mel", "mfcc"]):
        self.kind = kind
        dim = 80 if kind == "log-mel" else 39
        super().__init__(EncoderSpec(kind, f"{kind}-1", "0", "item-mean", dim, SAMPLE_RATE, HOP_SAMPLES), [dim])

    def forward(self, waveforms: Tensor, lengths: Tensor, layers: slice = ALL) -> tuple[list[Tensor], Tensor]:
        """See `SpeechEncoder`; each item alone, on the CPU."""
        items = [[torch.from_numpy(self.frames(item))][layers] for item in unpadded(waveforms, lengths)]
        return item_states(items, self.device)

    def frames(self, waveform: Float) -> Float:
        """The frames (T, D) of a waveform (S,)."""
        count = len(waveform) // HOP_SAMPLES
        if not count:
            return np.zeros((0, self.spec.dim), np.float32)
        padded = F.pad(torch.from_numpy(np.asarray(waveform, np.float32)), (PADDING_SAMPLES, PADDING_SAMPLES))
        with torch.autocast("cpu", enabled=False):
            power = power_spectrum(padded, torch.hann_window(WINDOW_SAMPLES), FFT_SAMPLES, HOP_SAMPLES)  # (257, T)
            mel = (_mel_filters() @ power).clamp_min(POWER_FLOOR).log().numpy().T  # (T, 80)
        features = mel if self.kind == "log-mel" else _cepstra(mel)
        return np.asarray(features - features.mean(axis=0), np.float32)


@lru_cache(maxsize=1)
def _mel_filters() -> Tensor:
    return torch.from_numpy(mel_filters(80, FFT_SAMPLES, rounded_heights=True))


def _cepstra(mel: Float) -> Float:
    from scipy.fft import dct

    cepstra = dct(mel, type=2, norm="ortho", axis=1)[:, :13]
    first = _difference(cepstra)
    return np.concatenate([cepstra, first, _difference(first)], axis=1)


def _difference(values: Float) -> Float:
    """Slope of the regression line over five frames, the edges repeated."""
    padded = np.pad(values, ((2, 2), (0, 0)), mode="edge")
    count = len(values)
    slope = sum(step * (padded[2 + step : 2 + step + count] - padded[2 - step : 2 - step + count]) for step in (1, 2))
    return np.asarray(slope / 10.0, np.float32)


@register("log-mel", "mfcc", has_weights=False)
def load(name: str, layer: int | None, compat: bool) -> SpeechEncoder:
    """The features of a name; see `speechkit.encoders.families.Load`."""
    return SignalFeatures("log-mel" if name == "log-mel" else "mfcc")
