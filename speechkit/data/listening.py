"""Detect problems in decoded audio: clipping, silence, values above full scale."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechkit.data.audio import cut_blocks
from speechkit.data.records import Utterance
from speechkit.io.arrays import true_runs

CLIPPED, BEYOND, SILENT = "clipped audio", "audio beyond full scale", "silent audio"
CLIPPED_SHARE = 1e-3
"""A cut with at least this share of clipped samples counts as clipped."""
FLAT_RUN = 3
"""Shortest run of equal samples that counts as a flat top."""
TOP = 0.98
"""A flat top must be at least this share of the peak."""
MIN_PEAK = 0.1
"""Below this peak, adjacent samples may be equal because of 16-bit resolution."""
MIN_SLOPE = 0.005
"""Smallest step into a flat top as a share of the peak, since low tones have flat extrema without clipping."""
SILENT_PEAK = 10 ** (-80 / 20)


def clipped_samples(waveform: NDArray[np.float32]) -> int:
    """Number of clipped samples of a waveform (time,): in runs of at least three equal ones near the peak.

    Resampling smooths such runs, so clipping is detected only at the original rate.
    """
    peak = float(np.abs(waveform).max(initial=0.0))
    if peak < MIN_PEAK:
        return 0
    flat = (waveform[1:] == waveform[:-1]) & (np.abs(waveform[1:]) >= TOP * peak)
    begins, lasts = true_runs(flat).T
    steps = np.abs(np.diff(waveform, prepend=waveform[:1], append=waveform[-1:]))
    clipped = (lasts - begins + 1 >= FLAT_RUN) & (np.maximum(steps[begins], steps[lasts + 1]) >= MIN_SLOPE * peak)
    return int((lasts - begins + 1)[clipped].sum())


def sound_notes(blocks: Iterable[NDArray[np.float32]]) -> list[str]:
    """Which of ``CLIPPED``, ``BEYOND`` and ``SILENT`` apply to a waveform in blocks, at its native rate.

    ``BEYOND`` is a peak above 1, which floating-point files may have; ``SILENT`` is a peak below -80 dB.
    """
    samples = clipped = 0
    peak = 0.0
    for block in blocks:
        samples += len(block)
        clipped += clipped_samples(block)
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
    if not samples:
        return []
    kinds = {CLIPPED: clipped >= CLIPPED_SHARE * samples, BEYOND: peak > 1, SILENT: peak < SILENT_PEAK}
    return [name for name, holds in kinds.items() if holds]


def listen(audio: Path | str, row: Utterance) -> list[str]:
    """`sound_notes` of a cut, read in blocks of one minute.

    Raises:
        AudioError: as `speechkit.data.audio.read_cut`.
    """
    return sound_notes(cut_blocks(audio, row))
