"""DNSMOS of a waveform: predicted opinion on noise. It does not measure the quality of synthetic speech.

Source: Reddy et al. 2022, DNSMOS P.835; networks from the package speechmos (extra ``tts-scores``).
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
        overall: overall quality.
        signal: speech quality.
        background: background quality.
    """

    overall: float
    signal: float
    background: float


def noise_scores(waveform: Float) -> NoiseScores:
    """DNSMOS of a waveform (S,) at 16 kHz; shorter ones are repeated to the 9 s of the network's input.

    Raises:
        AudioError: if it has no samples.
        MissingExtraError: if speechmos is not installed.
    """
    library: Any = require("speechmos.dnsmos")
    if not len(waveform):
        raise AudioError("the speech has no samples; give a longer recording")
    scores = library.run(np.clip(waveform, -1.0, 1.0).astype(np.float32), RATE, return_df=False)
    return NoiseScores(*(round(float(scores[name]), 4) for name in ("ovrl_mos", "sig_mos", "bak_mos")))
