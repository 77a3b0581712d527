"""Acoustic distance of a synthesised sentence from its recording: timbre, pitch, voicing and duration.

Silent ends are trimmed, the signals are aligned by dynamic time warping of their mel cepstra, and frames of 10 ms are
compared along that path. Cepstra are coefficients 1 to 24 of 80 mel channels: distances are comparable between systems
measured here, not with figures from other analyses.

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
from speechkit.tts.pitch import pitch

RATE = 16_000
HOP_SAMPLES = 160
COEFFICIENTS = 24
SOUNDING_DB = -40.0
"""Frames at the ends that are this much below the loudest are trimmed."""
_DB = 10.0 / math.log(10.0) * math.sqrt(2.0)


class AcousticDifference(msgspec.Struct, frozen=True):
    """Sums over the frames of one warping path; rates are ratios of sums over many sentences.

    Attributes:
        frames: frames on the path.
        distance: sum of mel-cepstral distances in dB.
        voiced: frames that are voiced in both signals.
        squared_hertz: sum of squared F0 differences over those frames.
        voicing_errors: frames that are voiced in only one signal.
        reference_seconds: duration of the recording without silent ends.
        seconds: duration of the synthesised sentence without silent ends.
    """

    frames: int
    distance: float
    voiced: int
    squared_hertz: float
    voicing_errors: int
    reference_seconds: float
    seconds: float


def compare(reference: Float, estimate: Float) -> AcousticDifference:
    """Compare two readings of one sentence, (S,) and (S',) at 16 kHz.

    Raises:
        AudioError: if one is silent or shorter than a frame.
    """
    reference, estimate = sounding(reference), sounding(estimate, "the speech")
    reference_cepstra, estimate_cepstra = mel_cepstra(reference), mel_cepstra(estimate)
    path = warping_path(reference_cepstra, estimate_cepstra)
    distances = np.sqrt(np.square(reference_cepstra[path[:, 0]] - estimate_cepstra[path[:, 1]]).sum(axis=1))
    reference_f0 = pitch(reference)[path[:, 0]].astype(np.float64)
    estimate_f0 = pitch(estimate)[path[:, 1]].astype(np.float64)
    voiced = (reference_f0 > 0) & (estimate_f0 > 0)
    return AcousticDifference(
        frames=len(path),
        distance=float(_DB * distances.sum()),
        voiced=int(voiced.sum()),
        squared_hertz=float(np.square(reference_f0 - estimate_f0)[voiced].sum()),
        voicing_errors=int(((reference_f0 > 0) != (estimate_f0 > 0)).sum()),
        reference_seconds=len(reference) / RATE,
        seconds=len(estimate) / RATE,
    )


def sounding(waveform: Float, name: str = "the recording") -> Float:
    """Trim a waveform (S,) to the frames from the first to the last within 40 dB of the loudest.

    Raises:
        AudioError: naming ``name``, if it is silent or shorter than a frame.
    """
    frames = len(waveform) // HOP_SAMPLES
    power = np.square(waveform[: frames * HOP_SAMPLES].reshape(frames, HOP_SAMPLES).astype(np.float64)).mean(axis=1)
    if not frames or not power.max() > 0:
        raise AudioError(f"{name} is silent or shorter than 10 ms; there is nothing to compare")
    loud = np.flatnonzero(power >= power.max() * 10 ** (SOUNDING_DB / 10))
    return waveform[loud[0] * HOP_SAMPLES : (loud[-1] + 1) * HOP_SAMPLES]


def mel_cepstra(waveform: Float) -> Float:
    """Coefficients 1 to 24 of the cosine transform of log-mel magnitudes, (S,) -> (S // 160, 24).

    Scaled as the cepstrum of a log spectrum, so that `AcousticDifference` can give distances in decibels.
    """
    import torch

    from speechkit.nn.mel import MelSpectrogram

    with torch.inference_mode():
        mel = MelSpectrogram()(torch.from_numpy(np.ascontiguousarray(waveform, np.float32))).numpy()
    channels = mel.shape[1]
    angles = np.pi * np.outer(np.arange(channels) + 0.5, np.arange(1, COEFFICIENTS + 1)) / channels
    return np.asarray(mel @ np.cos(angles) / channels, np.float32)


def warping_path(reference: Float, estimate: Float) -> NDArray[np.int64]:
    """Dynamic time warping of two sequences of frames (T, D) and (T', D) by Euclidean distance: path (steps, 2).

    A step advances one or both sequences by a frame; ties prefer both.

    Memory: T * T' bytes.
    """
    squares = np.square(reference).sum(axis=1)[:, None] + np.square(estimate).sum(axis=1)[None]
    costs = np.sqrt(np.maximum(squares - 2 * reference @ estimate.T, 0.0)).astype(np.float32)
    path = np.zeros((len(reference) + len(estimate), 2), np.int64)
    return path[_warp(costs, path) :]


@compiled
def _warp(costs: NDArray[np.float32], path: NDArray[np.int64]) -> int:
    """Fill the end of ``path``; returns the index at which it begins. Shapes: costs (T, T'); path (T + T', 2)."""
    rows, columns = costs.shape
    steps = np.zeros((rows, columns), np.uint8)  # the step that arrives: 0 both, 1 next row, 2 next column
    total = np.empty(columns, np.float64)
    total[0] = costs[0, 0]
    for j in range(1, columns):
        total[j] = total[j - 1] + costs[0, j]
        steps[0, j] = 2
    for i in range(1, rows):
        corner = total[0]
        total[0] += costs[i, 0]
        steps[i, 0] = 1
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
            steps[i, j] = code
            corner = above
    i, j = rows - 1, columns - 1
    step = len(path)
    while True:
        step -= 1
        path[step, 0], path[step, 1] = i, j
        if i == 0 and j == 0:
            return step
        code = steps[i, j]
        if code != 2:
            i -= 1
        if code != 1:
            j -= 1
