"""How far a synthesised sentence is from its recording: timbre, pitch, voicing and length.

Both are cut to where they sound, brought together by dynamic time warping of their mel cepstra, and compared frame by
frame along that path. Frames are 10 ms. The distances are of cepstra of 80 mel channels, coefficients 1 to 24: they
compare systems measured here, and not with figures from other analyses.

Sources: Kubichek 1993, Mel-cepstral distance measure for objective speech quality assessment; Sakoe and Chiba 1978.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import AudioError
from speechkit.io.arrays import Float
from speechkit.runtime.compiled import compiled
from speechkit.tts.scores.pitch import pitch

RATE = 16_000
HOP_SAMPLES = 160
COEFFICIENTS = 24
SOUNDING_DB = -40.0
"""Frames at the ends that are this much below the loudest are no part of the sentence."""
_DB = 10.0 / math.log(10.0) * math.sqrt(2.0)


class AcousticDifference(msgspec.Struct, frozen=True):
    """Sums over the frames of one warping path, so that the sums of many sentences make their rates.

    Attributes:
        frames: on the path.
        distance: mel-cepstral distance in dB, summed.
        voiced: frames that are voiced in both.
        squared_hertz: squares of the differences in F0, summed over those.
        voicing_errors: frames that are voiced in one alone.
        reference_seconds: length of the recording, silent ends cut off.
        seconds: length of the synthesised sentence, silent ends cut off.
    """

    frames: int
    distance: float
    voiced: int
    squared_hertz: float
    voicing_errors: int
    reference_seconds: float
    seconds: float


def compare(reference: Float, estimate: Float) -> AcousticDifference:
    """Two readings of one sentence, (S,) and (S',) at 16 kHz.

    Raises:
        AudioError: if one is silent or shorter than a frame.
    """
    sides = [sounding(each, what) for each, what in ((reference, "the recording"), (estimate, "the speech"))]
    cepstra = [mel_cepstra(side) for side in sides]
    tracks = [pitch(side) for side in sides]
    path = warping_path(*cepstra)
    left, right = path[:, 0], path[:, 1]
    distances = np.sqrt(np.square(cepstra[0][left] - cepstra[1][right]).sum(axis=1))
    first, second = tracks[0][left].astype(np.float64), tracks[1][right].astype(np.float64)
    both = (first > 0) & (second > 0)
    return AcousticDifference(
        frames=len(path),
        distance=float(_DB * distances.sum()),
        voiced=int(both.sum()),
        squared_hertz=float(np.square(first - second)[both].sum()),
        voicing_errors=int(((first > 0) != (second > 0)).sum()),
        reference_seconds=len(sides[0]) / RATE,
        seconds=len(sides[1]) / RATE,
    )


def sounding(waveform: Float, what: str = "the recording") -> Float:
    """The waveform (S,) from its first to its last frame within 40 dB of the loudest, in whole frames.

    Raises:
        AudioError: naming ``what`` if it is silent or shorter than a frame.
    """
    frames = len(waveform) // HOP_SAMPLES
    power = np.square(waveform[: frames * HOP_SAMPLES].reshape(frames, HOP_SAMPLES).astype(np.float64)).mean(axis=1)
    if not frames or not power.max() > 0:
        raise AudioError(f"{what} is silent or shorter than 10 ms; there is nothing to compare")
    loud = np.flatnonzero(power >= power.max() * 10 ** (SOUNDING_DB / 10))
    return waveform[loud[0] * HOP_SAMPLES : (loud[-1] + 1) * HOP_SAMPLES]


def mel_cepstra(waveform: Float) -> Float:
    """Coefficients 1 to 24 of the cosine transform of log-mel magnitudes, (S,) -> (S // 160, 24).

    Scaled as the cepstrum of a log spectrum, so that distances in them are decibels.
    """
    import torch

    from speechkit.nn.mel import MelSpectrogram

    with torch.inference_mode():
        mel = MelSpectrogram()(torch.from_numpy(np.ascontiguousarray(waveform, np.float32))).numpy()
    channels = mel.shape[1]
    angles = np.pi * np.outer(np.arange(channels) + 0.5, np.arange(1, COEFFICIENTS + 1)) / channels
    return np.asarray(mel @ np.cos(angles) / channels, np.float32)


def warping_path(reference: Float, estimate: Float) -> NDArray[np.int64]:
    """The cheapest path through two sequences of frames (T, D) and (T', D) under Euclidean distances, (steps, 2).

    A step goes one frame on in one or in both; of equally cheap ones, in both comes first.

    Memory: T * T' bytes.
    """
    squares = np.square(reference).sum(axis=1)[:, None] + np.square(estimate).sum(axis=1)[None]
    costs = np.sqrt(np.maximum(squares - 2 * reference @ estimate.T, 0.0)).astype(np.float32)
    path = np.zeros((len(reference) + len(estimate), 2), np.int64)
    return path[_warp(costs, path) :]


@compiled
def _warp(costs: NDArray[np.float32], path: NDArray[np.int64]) -> int:
    """Fill the end of ``path``; returns where it begins. Shapes: costs (T, T'); path (T + T', 2)."""
    rows, columns = costs.shape
    came = np.zeros((rows, columns), np.uint8)  # 0 from both, 1 from the row before, 2 from the column before
    total = np.empty(columns, np.float64)
    total[0] = costs[0, 0]
    for j in range(1, columns):
        total[j] = total[j - 1] + costs[0, j]
        came[0, j] = 2
    for i in range(1, rows):
        corner = total[0]
        total[0] += costs[i, 0]
        came[i, 0] = 1
        for j in range(1, columns):
            above = total[j]
            best = corner
            code = 0
            if above < best:
                best = above
                code = 1
            if total[j - 1] < best:
                best = total[j - 1]
                code = 2
            total[j] = best + costs[i, j]
            came[i, j] = code
            corner = above
    i, j = rows - 1, columns - 1
    step = len(path)
    while True:
        step -= 1
        path[step, 0], path[step, 1] = i, j
        if i == 0 and j == 0:
            return step
        code = came[i, j]
        if code != 2:
            i -= 1
        if code != 1:
            j -= 1
