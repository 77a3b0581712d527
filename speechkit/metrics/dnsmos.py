"""DNSMOS of a waveform: what listeners would say of its noise. It is no opinion on synthetic speech.

Source: Reddy et al. 2022, DNSMOS P.835; its networks come with the package speechmos (extra ``tts-scores``).
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from speechkit.errors import AudioError, require
from speechkit.io.arrays import Float

RATE = 16_000


class NoiseScores(msgspec.Struct, frozen=True):
    """Predicted opinions, 1 to 5.

    Attributes:
        overall: of the whole.
        signal: of the speech.
        background: of what is not speech.
    """

    overall: float
    signal: float
    background: float


def noise_scores(waveform: Float) -> NoiseScores:
    """DNSMOS of a waveform (S,) at 16 kHz; a short one is repeated to the 9 s that its networks hear.

    Raises:
        AudioError: if it holds no samples.
        MissingExtraError: if speechmos is not installed.
    """
    library: Any = require("speechmos.dnsmos")
    if not len(waveform):
        raise AudioError("the speech holds no samples; there is nothing to score")
    scores = library.run(np.clip(waveform, -1.0, 1.0).astype(np.float32), RATE, return_df=False)
    return NoiseScores(*(round(float(scores[name]), 4) for name in ("ovrl_mos", "sig_mos", "bak_mos")))
