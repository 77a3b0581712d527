"""Boundaries where the norm of the frames peaks: no training, no thresholds of the encoder.

Source: ZeroSyl (2026): L2 norm of a middle layer of WavLM, standardised over the utterance, smoothed over three frames,
peaks of at least a prominence. Where an encoder's norm falls at boundaries instead, ``valleys`` looks for those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import ConfigError
from speechkit.runtime.compiled import compiled_reordering
from speechkit.syllables.segments import Boundaries, frame_norms, runs_of_speech


@dataclass(frozen=True)
class PeakSegmenter:
    """Segments between peaks of the frames' norm.

    Attributes:
        prominence: least prominence of a peak, in standard deviations of the norm.
        smoothing: frames of the moving average; odd.
        valleys: take the valleys of the norm instead of its peaks.
        norm: a frame of less than this L2 norm is silence; None: all is speech, as published.

    Raises:
        ConfigError: if a value is out of range.
    """

    prominence: float = 0.45
    smoothing: int = 3
    valleys: bool = False
    norm: float | None = None

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
        norms = frame_norms(features)
        spread = float(norms.std()) if len(norms) else 0.0
        curve = smoothed((norms - norms.mean()) / spread, self.smoothing) if spread > 0 else np.zeros(len(norms))
        return cut_at(runs_of_speech(norms, self.norm), find_peaks(-curve if self.valleys else curve, self.prominence))


def cut_at(runs: Boundaries, places: NDArray[np.int64]) -> Boundaries:
    """The runs (m, 2), cut at those of the ordered places that lie inside them."""
    parts = [np.empty((0, 2), np.int64)]
    for start, end in runs:
        first, last = np.searchsorted(places, [start + 1, end])
        edges = np.concatenate([[start], places[first:last], [end]]).astype(np.int64)
        parts.append(np.stack([edges[:-1], edges[1:]], axis=1))
    return np.concatenate(parts)


def smoothed(curve: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Moving average over an odd number of values; at the ends, over those that are there."""
    if not len(curve):
        return curve
    sums = np.concatenate([[0.0], np.cumsum(curve)])
    places = np.arange(len(curve))
    begin, end = np.maximum(places - width // 2, 0), np.minimum(places + width // 2 + 1, len(curve))
    averages: NDArray[np.float64] = (sums[end] - sums[begin]) / (end - begin)
    return averages


def find_peaks(curve: NDArray[np.float64], prominence: float) -> NDArray[np.int64]:
    """Places (n,) of the peaks of at least a prominence, in time that grows with the length alone.

    A peak is higher than what stands beside it, a flat one counts at its middle; its prominence is its height above
    the higher of the lowest points on the way to something higher, or to the end, on either side.
    """
    places = _peaks(curve)
    heights = np.minimum(_rises(curve), _rises(curve[::-1].copy())[::-1])[places]
    high: NDArray[np.int64] = places[heights >= prominence]
    return high


@compiled_reordering
def _peaks(curve: NDArray[np.float64]) -> NDArray[np.int64]:
    places = np.empty(len(curve) // 2 + 1, np.int64)
    count = 0
    t = 1
    while t < len(curve) - 1:
        if curve[t - 1] < curve[t]:
            end = t + 1
            while end < len(curve) - 1 and curve[end] == curve[t]:
                end += 1
            if curve[end] < curve[t]:
                places[count] = (t + end - 1) // 2
                count += 1
            t = end
        else:
            t += 1
    filled: NDArray[np.int64] = places[:count].copy()
    return filled


@compiled_reordering
def _rises(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Height of each value above the lowest one between it and the nearest higher one to its left, or the end."""
    rises = np.empty(len(curve))
    # Values not yet topped, highest first, each with the lowest value since the one before it.
    values = np.empty(len(curve))
    lowest = np.empty(len(curve))
    depth = 0
    for t in range(len(curve)):
        low = curve[t]
        while depth > 0 and values[depth - 1] <= curve[t]:
            depth -= 1
            low = min(low, lowest[depth])
        values[depth] = curve[t]
        lowest[depth] = low
        depth += 1
        rises[t] = curve[t] - low
    return rises
