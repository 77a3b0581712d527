"""Boundaries where the norm of the frames peaks: no training, no thresholds of the encoder.

Source: ZeroSyl (2026): L2 norm of layer 13 of WavLM large, standardised over the utterance, averaged over three frames
(at the ends, the first and last one count for those that are missing), peaks of at least a prominence of 0.45. It is
published for that encoder; the norms of others need not peak where syllables meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import ConfigError
from speechkit.syllables.segments import Boundaries, frame_norms, runs_of_speech


@dataclass(frozen=True)
class PeakSegmenter:
    """Segments between peaks of the frames' norm; all is speech, as published.

    Attributes:
        prominence: least prominence of a peak, in standard deviations of the norm.
        smoothing: frames of the moving average; odd.

    Raises:
        ConfigError: if a value is out of range.
    """

    prominence: float = 0.45
    smoothing: int = 3

    def __post_init__(self) -> None:
        if not self.prominence > 0:
            raise ConfigError(f"prominence is {self.prominence}; give a number above 0")
        if self.smoothing < 1 or self.smoothing % 2 == 0:
            raise ConfigError(f"smoothing is {self.smoothing} frames; give an odd number")

    def segment(self, features: NDArray[np.floating[Any]]) -> Boundaries:
        """Segments (n, 2) of frames (T, D).

        Raises:
            UserError: if the frames are no table of finite numbers, with the first frame that is not.
        """
        from scipy.signal import find_peaks

        norms = frame_norms(features)
        spread = float(norms.std()) if len(norms) else 0.0
        curve = smoothed((norms - norms.mean()) / spread, self.smoothing) if spread > 0 else np.zeros(len(norms))
        peaks, _ = find_peaks(curve, prominence=self.prominence)
        return cut_at(runs_of_speech(norms, None), peaks)


def cut_at(runs: Boundaries, boundaries: NDArray[np.int64]) -> Boundaries:
    """The runs (m, 2), cut at those of the sorted boundaries that lie inside them."""
    parts = [np.empty((0, 2), np.int64)]
    for start, end in runs:
        first, last = np.searchsorted(boundaries, [start + 1, end])
        edges = np.concatenate([[start], boundaries[first:last], [end]]).astype(np.int64)
        parts.append(np.stack([edges[:-1], edges[1:]], axis=1))
    return np.concatenate(parts)


def smoothed(curve: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Moving average over an odd number of values; beyond the ends, the first and last one go on."""
    if not len(curve):
        return curve
    averages: NDArray[np.float64] = np.convolve(np.pad(curve, width // 2, "edge"), np.full(width, 1 / width), "valid")
    return averages
