"""Training-free segmentation with boundaries at peaks of the frame norms.

Source: ZeroSyl (2026): L2 norm of layer 13 of WavLM large, standardised per utterance, smoothed over three frames (with
edge padding), peaks with a prominence of at least 0.45. It is published for that encoder; the norms of others need not
peak at syllable boundaries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import ConfigError
from speechkit.syllables.segments import Boundaries, frame_norms, speech_runs


@dataclass(frozen=True)
class PeakSegmenter:
    """Segments between peaks of the frame norms; all frames are speech, as published.

    Attributes:
        prominence: minimum prominence of a peak, in standard deviations of the norm.
        smoothing: odd length of the moving average, in frames.

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
            UserError: if the frames are not a matrix of finite numbers, with the first invalid frame.
        """
        from scipy.signal import find_peaks

        norms = frame_norms(features)
        deviation = float(norms.std()) if len(norms) else 0.0
        curve = np.zeros(len(norms))
        if deviation > 0:
            curve = moving_average((norms - norms.mean()) / deviation, self.smoothing)
        peaks, _ = find_peaks(curve, prominence=self.prominence)
        return split_runs(speech_runs(norms, None), peaks)


def split_runs(runs: Boundaries, boundaries: NDArray[np.int64]) -> Boundaries:
    """Split runs (m, 2) at the sorted boundaries inside them."""
    parts = [np.empty((0, 2), np.int64)]
    for start, end in runs:
        first, last = np.searchsorted(boundaries, [start + 1, end])
        edges = np.concatenate([[start], boundaries[first:last], [end]]).astype(np.int64)
        parts.append(np.stack([edges[:-1], edges[1:]], axis=1))
    return np.concatenate(parts)


def moving_average(curve: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Moving average of odd width, with edge padding."""
    if not len(curve):
        return curve
    averages: NDArray[np.float64] = np.convolve(np.pad(curve, width // 2, "edge"), np.full(width, 1 / width), "valid")
    return averages
