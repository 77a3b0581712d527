"""Segmenters by name, and their candidate settings for tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from speechkit.encoders.derived import DERIVED
from speechkit.errors import ConfigError, UserError
from speechkit.io.arrays import Float
from speechkit.syllables.dynamic import DynamicSegmenter, penalty_for_rate
from speechkit.syllables.envelope import EnvelopeSegmenter
from speechkit.syllables.greedy import GreedySegmenter
from speechkit.syllables.peaks import PeakSegmenter
from speechkit.syllables.segments import Segmenter

ENCODER = "embedded-syllables"
"""The encoder in the package that was trained for syllables."""
SETTINGS_FILE = "segmenters.json"
SEGMENTERS: dict[str, Any] = {"greedy": GreedySegmenter, "dynamic": DynamicSegmenter, "peaks": PeakSegmenter}
MERGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9)
NORM_QUANTILES = (0.0, 0.025, 0.05, 0.075, 0.1)
"""Candidate norm thresholds of silence, as quantiles of the frame norms; higher ones lose weak syllables in noise."""
SHORTEST_SILENCE = 8
"""Frames; shorter gaps between tokens are no silence tokens either (`speechkit.syllables.tokens`)."""
RATES = (3.6, 4.2, 4.8, 5.4, 6.0)
"""Candidate rates, in segments per second of speech."""
ENVELOPE_PROMINENCES = (0.5, 1.0, 2.0, 3.0, 4.0)
ENVELOPE_SMOOTHINGS = (0.06, 0.08, 0.1, 0.14)
ENVELOPE_SILENCES = (25.0, 30.0, 35.0)


def make_segmenter(name: str, **settings: Any) -> Segmenter:
    """A segmenter of frames by name: ``greedy``, ``dynamic`` or ``peaks``, with the settings of its class.

    The envelope segmenter (`speechkit.syllables.envelope`) is not included, since it takes waveforms.

    Raises:
        ConfigError: if the segmenter or a setting is unknown, or a value is out of range.
    """
    if name not in SEGMENTERS:
        raise ConfigError(f"segmenter is {name!r}; choose {', '.join(SEGMENTERS)}")
    kind = SEGMENTERS[name]
    known = list(kind.__dataclass_fields__)
    if unknown := sorted(set(settings) - set(known)):
        raise ConfigError(f"the {name} segmenter has no setting {', '.join(unknown)}; it has {', '.join(known)}")
    made: Segmenter = kind(**settings)
    return made


class SegmenterChoice(msgspec.Struct, frozen=True):
    """Tuned settings of a system.

    Attributes:
        system: encoder and segmenter, such as ``second greedy``.
        segmenter: ``envelope``, or a name of `make_segmenter`.
        settings: of the segmenter.
        tuned_r_value: R-value on the tuning utterances.
    """

    system: str
    segmenter: str
    settings: dict[str, float]
    tuned_r_value: float


def packaged_settings(segmenter: str) -> dict[str, float]:
    """Settings of a segmenter, ``greedy`` or ``dynamic``, that were tuned for the encoder ``embedded-syllables``.

    Raises:
        UserError: if the file in the package is missing or damaged.
    """
    path = DERIVED[ENCODER] / SETTINGS_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, float]])[segmenter]
    except (OSError, msgspec.MsgspecError, KeyError) as error:
        raise UserError(f"{path}: is missing or damaged; install the package again") from error


def build_segmenter(choice: SegmenterChoice) -> Any:
    """The segmenter of a `SegmenterChoice`; ``envelope`` segments waveforms, all others frames."""
    if choice.segmenter == "envelope":
        return EnvelopeSegmenter(**choice.settings)
    return make_segmenter(choice.segmenter, **choice.settings)


def envelope_trials() -> list[SegmenterChoice]:
    """Candidate settings of the envelope segmenter."""
    return [
        SegmenterChoice(
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
    """Candidate norm thresholds, at `NORM_QUANTILES` of the frames, rounded to three digits."""
    norms = np.concatenate([np.linalg.norm(frames, axis=1) for frames in sample])
    return [round(float(np.quantile(norms, share)), 3) if share else 0.0 for share in NORM_QUANTILES]


def greedy_trials(sample: Sequence[Float]) -> list[SegmenterChoice]:
    """Candidate settings of the greedy segmenter."""
    return [
        SegmenterChoice("", "greedy", {"norm": norm, "merge": merge}, 0.0)
        for norm in norm_thresholds(sample)
        for merge in MERGES
    ]


def dynamic_trials(sample: Sequence[Float]) -> list[SegmenterChoice]:
    """Candidate settings of the dynamic programming segmenter."""
    subset = list(sample[:: max(1, len(sample) // 6)])
    trials = []
    for norm in norm_thresholds(sample):
        for rate in RATES:
            try:
                penalty = penalty_for_rate(subset, rate, norm=norm, shortest_silence=SHORTEST_SILENCE)
            except UserError:  # runs of speech too short for so few segments
                continue
            settings = {"norm": norm, "penalty": penalty, "shortest_silence": SHORTEST_SILENCE}
            trials.append(SegmenterChoice("", "dynamic", settings, 0.0))
    if not trials:
        raise UserError(f"no norm threshold leaves enough speech for {RATES} segments per second; give more speech")
    return trials
