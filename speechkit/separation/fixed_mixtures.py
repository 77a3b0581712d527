"""Fixed mixtures for validation and test, written with their sources and gains."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from speechkit.augment.speakers import MixedSpeech
from speechkit.data.mixtures import Mixture, with_mixture
from speechkit.data.records import Utterance
from speechkit.io.audio import write_audio
from speechkit.metrics.separation import is_silent

STEPS = 32_768
"""16-bit quantisation steps to full scale."""


def write_mixture(folder: Path, name: str, mixed: MixedSpeech, sample_rate: int) -> Utterance:
    """Write a mixture and its sources as FLAC, quantised so that the sources add up to the mixture exactly.

    Args:
        folder: receives ``mix/NAME.flac``, ``s1/NAME.flac``, ``s2/…`` for each speaker, and ``noise/NAME.flac`` if any.
        name: stem of the files and id of the row.
        mixed: mixture with its sources, with a peak below full scale.
        sample_rate: in hertz.

    Returns:
        A row whose path is relative to ``folder``.
    """
    count = len(mixed.turns)
    parts = {f"s{number}": mixed.sources[number - 1] for number in range(1, count + 1)}
    if not is_silent(mixed.noise):
        parts["noise"] = mixed.noise
    rounded = {part: np.round(waveform * STEPS).astype(np.int32) for part, waveform in parts.items()}
    rounded["mix"] = np.sum(list(rounded.values()), axis=0, dtype=np.int32)
    for part, steps in rounded.items():
        write_audio(folder / part / f"{name}.flac", (steps / STEPS).astype(np.float32), sample_rate)
    row = Utterance.from_samples(
        id=name,
        audio_filepath=f"mix/{name}.flac",
        num_samples=len(mixed.mixture),
        sample_rate=sample_rate,
        custom={"cuts": [list(turn.cuts) for turn in mixed.turns]},
    )
    facts = Mixture(
        sources=[f"../s{number}/{name}.flac" for number in range(1, count + 1)],
        speakers=[turn.speaker for turn in mixed.turns],
        gains=[turn.gain for turn in mixed.turns],
        noise=f"../noise/{name}.flac" if "noise" in parts else None,
        overlap=round(mixed.overlap, 4),
    )
    return with_mixture(row, facts)
