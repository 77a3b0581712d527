"""Move the boundaries of a segment into the pauses around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def frame_energies(waveform: NDArray[np.float32], sample_rate: int, hop_seconds: float = 0.01) -> NDArray[np.float64]:
    """Energy in decibels of each hop, smoothed over three; shape (ceil(samples / hop),), floor -100 dB."""
    hop = max(1, round(sample_rate * hop_seconds))
    count = -(-len(waveform) // hop)
    padded = np.zeros(count * hop)
    padded[: len(waveform)] = np.nan_to_num(np.asarray(waveform, np.float64))
    power = np.square(padded.reshape(count, hop)).mean(1) if count else np.zeros(0)
    if count > 2:
        edges = np.concatenate([power[:1], power, power[-1:]])
        power = (edges[:-2] + edges[1:-1] + edges[2:]) / 3
    return np.asarray(10 * np.log10(np.maximum(power, 1e-10)))


def snap_to_quiet(
    start: float,
    end: float,
    energies: NDArray[np.float64],
    hop_seconds: float,
    *,
    outward_seconds: float = 0.25,
    inward_seconds: float = 0.06,
    pad_seconds: float = 0.08,
) -> tuple[float, float]:
    """Move both boundaries to the quietest point nearby, mostly outwards so that no speech is cut.

    Quiet means at most a quarter of the range within reach, and at least 3 dB, above the lowest energy there: the end
    of reverberation is left out, and in noise with a small range speech is not taken for quiet.
    The boundary goes to the first quiet point outwards, and up to ``pad_seconds`` further into it.

    Args:
        start: seconds from the first frame of ``energies``.
        end: seconds, after ``start``.
        energies: (T,) decibels, from :func:`frame_energies`.
        hop_seconds: one frame.
        outward_seconds: how far a boundary may move away from the segment.
        inward_seconds: how far it may move into the segment.
        pad_seconds: how much of the quiet part to keep.

    Returns:
        The new start and end; unchanged if there are no energies.
    """
    if not len(energies):
        return start, end
    first = _snap(start, -1, energies, hop_seconds, outward_seconds, inward_seconds, pad_seconds)
    last = _snap(end, 1, energies, hop_seconds, outward_seconds, inward_seconds, pad_seconds)
    return (first, last) if last > first else (start, end)


def _snap(
    time: float,
    direction: int,
    energies: NDArray[np.float64],
    hop: float,
    outward: float,
    inward: float,
    pad: float,
) -> float:
    origin = time / hop
    begin = round(origin - direction * inward / hop)
    stop = round(origin + direction * outward / hop)
    steps = np.arange(begin, stop + direction, direction)
    # Boundary b is between frames b - 1 and b; both sides count.
    before, after = np.clip([steps - 1, steps], 0, len(energies) - 1)
    level = (energies[before] + energies[after]) / 2
    quiet = level <= level.min() + max(3.0, float(np.ptp(level)) / 4)
    at = int(np.argmax(quiet))
    most = at + round(pad / hop)
    while at < most and at + 1 < len(steps) and quiet[at + 1]:
        at += 1
    return float(np.clip(steps[at], 0, len(energies)) * hop)


def quietest(
    waveform: NDArray[np.float32],
    sample_rate: int,
    start: float,
    end: float,
    *,
    outward_seconds: float = 0.25,
    inward_seconds: float = 0.06,
) -> tuple[float, float]:
    """:func:`snap_to_quiet` on a waveform (samples,); ``start`` and ``end`` are seconds from its first sample."""
    energies = frame_energies(waveform, sample_rate)
    low, high = snap_to_quiet(
        start, end, energies, 0.01, outward_seconds=outward_seconds, inward_seconds=inward_seconds
    )
    return low, min(high, len(waveform) / sample_rate)
