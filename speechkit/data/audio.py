"""The samples behind a row of a manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechkit.data.records import Utterance
from speechkit.io.audio import read_audio


def read_cut(audio: Path | str, utterance: Utterance, *, sample_rate: int | None = None) -> NDArray[np.float32]:
    """The samples (time,) of an utterance in its file ``audio``, at the file's own rate or at ``sample_rate`` Hz.

    Raises:
        AudioError: if the file cannot be read or ends before the utterance does.
    """
    return read_audio(
        audio,
        offset_samples=utterance.offset_samples,
        num_samples=utterance.num_samples,
        sample_rate=sample_rate,
        channel=utterance.channel,
    )
