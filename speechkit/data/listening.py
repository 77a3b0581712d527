"""What can be wrong with the samples of a cut that can be read: clipping, silence, numbers beyond full scale."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechkit.data.audio import cut_blocks
from speechkit.data.records import Utterance

CLIPPED, BEYOND, SILENT = "clipped audio", "audio beyond full scale", "silent audio"
CLIPPED_SHARE = 1e-3
"""Of the samples: from here on a cut is called clipped."""
FLAT_RUN = 3
"""Equal samples in a row that make a flat top."""
TOP = 0.98
"""Of the peak: from here on samples are at the top."""
LEAST_PEAK = 0.1
"""Below it neighbours are equal because 16 bits are coarse."""
LEAST_STEP = 0.005
"""Of the peak: the sound runs into a flat top at least so steeply; a low tone turns there slowly."""
SILENT_PEAK = 10 ** (-80 / 20)


def clipped_samples(waveform: NDArray[np.float32]) -> int:
    """How many samples of a waveform (time,) lie in flat tops: three or more equal ones near the peak, reached steeply.

    Resampling rounds flat tops, so that clipping is found at the rate at which it happened.
    """
    peak = float(np.abs(waveform).max(initial=0.0))
    if peak < LEAST_PEAK:
        return 0
    same = (waveform[1:] == waveform[:-1]) & (np.abs(waveform[1:]) >= TOP * peak)
    edges = np.diff(np.concatenate([[0], same.astype(np.int8), [0]]))
    begins, lasts = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    steps = np.abs(np.diff(waveform, prepend=waveform[:1], append=waveform[-1:]))
    flat = (lasts - begins + 1 >= FLAT_RUN) & (np.maximum(steps[begins], steps[lasts + 1]) >= LEAST_STEP * peak)
    return int((lasts - begins + 1)[flat].sum())


def sound_notes(blocks: Iterable[NDArray[np.float32]]) -> list[str]:
    """Which of ``CLIPPED``, ``BEYOND`` and ``SILENT`` hold for a waveform in blocks, at its file's own rate.

    ``BEYOND`` is a peak above 1, which files of floating-point numbers may have; ``SILENT`` one below -80 dB.
    """
    samples = clipped = 0
    peak = 0.0
    for block in blocks:
        samples += len(block)
        clipped += clipped_samples(block)
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
    if not samples:
        return []
    found = {CLIPPED: clipped >= CLIPPED_SHARE * samples, BEYOND: peak > 1, SILENT: peak < SILENT_PEAK}
    return [name for name, holds in found.items() if holds]


def listen(audio: Path | str, row: Utterance) -> list[str]:
    """The `sound_notes` of a cut, a minute of it in memory.

    Raises:
        AudioError: as `speechkit.data.audio.read_cut`.
    """
    return sound_notes(cut_blocks(audio, row))
