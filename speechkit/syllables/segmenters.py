"""Segmenters by name, and the settings that are tried of each where they are chosen on speech with known syllables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from speechkit.errors import ConfigError, UserError
from speechkit.io.arrays import Float
from speechkit.syllables.dynamic import DynamicSegmenter, penalty_for_rate
from speechkit.syllables.envelope import EnvelopeSegmenter
from speechkit.syllables.greedy import GreedySegmenter
from speechkit.syllables.peaks import PeakSegmenter
from speechkit.syllables.segments import Segmenter

SEGMENTERS: dict[str, Any] = {"greedy": GreedySegmenter, "dynamic": DynamicSegmenter, "peaks": PeakSegmenter}
MERGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9)
NORM_QUANTILES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)
"""Of the frames' norms; what lies below is silence."""
RATES = (3.6, 4.2, 4.8, 5.4, 6.0)
"""Segments a second of what is not silence."""
ENVELOPE_PROMINENCES = (0.5, 1.0, 2.0, 3.0, 4.0)
ENVELOPE_SMOOTHINGS = (0.06, 0.08, 0.1, 0.14)
ENVELOPE_SILENCES = (25.0, 30.0, 35.0)


def make_segmenter(name: str, **settings: Any) -> Segmenter:
    """A segmenter of frames by name: ``greedy``, ``dynamic`` or ``peaks``; the settings are those of its class.

    The amplitude envelope (`speechkit.syllables.envelope`) is no choice here: it takes waveforms.

    Raises:
        ConfigError: if there is no such segmenter or setting, or a value is out of range.
    """
    if name not in SEGMENTERS:
        raise ConfigError(f"segmenter is {name!r}; choose {', '.join(SEGMENTERS)}")
    kind = SEGMENTERS[name]
    known = list(kind.__dataclass_fields__)
    if unknown := sorted(set(settings) - set(known)):
        raise ConfigError(f"the {name} segmenter has no setting {', '.join(unknown)}; it has {', '.join(known)}")
    made: Segmenter = kind(**settings)
    return made


class Choice(msgspec.Struct, frozen=True):
    """The settings of a system that were best on the speakers that it is not judged by.

    Attributes:
        system: the encoder and the segmenter, as ``second greedy``.
        segmenter: ``envelope``, or a name of `make_segmenter`.
        settings: of the segmenter.
        tuned_r_value: on the tuning utterances.
    """

    system: str
    segmenter: str
    settings: dict[str, float]
    tuned_r_value: float


def segmenter_of(choice: Choice) -> Any:
    """What `Choice` stands for; the envelope takes waveforms, all others take frames."""
    if choice.segmenter == "envelope":
        return EnvelopeSegmenter(**choice.settings)
    return make_segmenter(choice.segmenter, **choice.settings)


def envelope_trials() -> list[Choice]:
    """All settings of the amplitude envelope that are tried."""
    return [
        Choice(
            "",
            "envelope",
            {"prominence_decibels": prominence, "smoothing_seconds": smoothing, "silence_decibels": silence},
            0.0,
        )
        for prominence in ENVELOPE_PROMINENCES
        for smoothing in ENVELOPE_SMOOTHINGS
        for silence in ENVELOPE_SILENCES
    ]


def norm_thresholds(sample: Sequence[Float]) -> list[float]:
    """Norms under which the given shares of the frames lie; rounded, so that they print as they are."""
    norms = np.concatenate([np.linalg.norm(frames, axis=1) for frames in sample])
    return [round(float(np.quantile(norms, share)), 3) if share else 0.0 for share in NORM_QUANTILES]


def greedy_trials(sample: Sequence[Float]) -> list[Choice]:
    """All settings of Sylber's segmenter that are tried."""
    return [
        Choice("", "greedy", {"norm": norm, "merge": merge}, 0.0)
        for norm in norm_thresholds(sample)
        for merge in MERGES
    ]


def dynamic_trials(sample: Sequence[Float]) -> list[Choice]:
    """All settings of the exact segmentation that are tried."""
    some = list(sample[:: max(1, len(sample) // 6)])
    trials = []
    for norm in norm_thresholds(sample):
        for rate in RATES:
            try:
                penalty = penalty_for_rate(some, rate, norm=norm)
            except UserError:  # stretches of speech so short that no penalty gives so few segments
                continue
            trials.append(Choice("", "dynamic", {"norm": norm, "penalty": penalty}, 0.0))
    if not trials:
        raise UserError(f"no norm leaves stretches of speech for any of {RATES} segments a second; give more speech")
    return trials
