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
"""Share of clipped samples from which a cut counts as clipped."""
FLAT_RUN = 3
"""Number of equal consecutive samples that make a flat top."""
TOP = 0.98
"""Share of the peak above which samples count as peaks."""
LEAST_PEAK = 0.1
"""Below this peak, neighbouring samples are equal because of 16-bit resolution."""
LEAST_STEP = 0.005
"""Least slope into a flat top as a share of the peak; low tones turn slowly."""
SILENT_PEAK = 10 ** (-80 / 20)


def clipped_samples(waveform: NDArray[np.float32]) -> int:
    """Number of clipped samples of a waveform (time,): three or more equal ones in a row near the peak, steep slope.

    Resampling smooths such runs, so clipping is detected only at the original rate.
    """
    peak = float(np.abs(waveform).max(initial=0.0))
    if peak < LEAST_PEAK:
        return 0
    same = (waveform[1:] == waveform[:-1]) & (np.abs(waveform[1:]) >= TOP * peak)
    begins, lasts = true_runs(same).T
    steps = np.abs(np.diff(waveform, prepend=waveform[:1], append=waveform[-1:]))
    flat = (lasts - begins + 1 >= FLAT_RUN) & (np.maximum(steps[begins], steps[lasts + 1]) >= LEAST_STEP * peak)
    return int((lasts - begins + 1)[flat].sum())


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
    found = {CLIPPED: clipped >= CLIPPED_SHARE * samples, BEYOND: peak > 1, SILENT: peak < SILENT_PEAK}
    return [name for name, holds in found.items() if holds]


def listen(audio: Path | str, row: Utterance) -> list[str]:
    """`sound_notes` of a cut, read in blocks of one minute.

    Raises:
        AudioError: as `speechkit.data.audio.read_cut`.
    """
    return sound_notes(cut_blocks(audio, row))
