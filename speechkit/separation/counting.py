"""Speaker counting from a separator's tracks, and regions of overlapping speech. Torch-free.

Notation used for array shapes: N tracks, S samples, T frames of 20 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data.records import seconds
from speechkit.errors import UserError
from speechkit.io.arrays import Float, true_runs
from speechkit.metrics.logistic import LogisticModel, Matrix
from speechkit.separation.voices import DOMINANT_DB, Voice, voice_distance

FRAME_SECONDS = 0.02
FLOOR_DB = -120.0
SILENT_DB = -70.0
"""Frames below this level are silent in any recording."""
FEATURES = ("level_db", "correlation", "envelope", "dominance", "voice")
SPEECH_FEATURES = ("range_db", "median_db", "modulation")
UNCERTAIN = 0.7
GAP_SECONDS, BURST_SECONDS = 0.3, 0.1


class Counting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Speaker-counting model of one separator, stored beside its weights as ``counting.json``.

    Attributes:
        another: probability that a further track holds another speaker, from `FEATURES`.
        more: probability of more speakers than tracks, from `FEATURES` of the weakest track. None: not fitted.
        speech: probability that the mixture holds speech, from `SPEECH_FEATURES`. None: all sound counts as speech.
        range_db: a frame is active if it is less than this below the loud frames of its track …
        leak_db: … and less than this below the loudest track in that frame.
        provenance: the data of the fit, and its accuracy on held-out data.
    """

    another: LogisticModel
    more: LogisticModel | None = None
    speech: LogisticModel | None = None
    range_db: float = 30.0
    leak_db: float = 15.0
    provenance: dict[str, str | float] = {}


class Region(msgspec.Struct, frozen=True, array_like=True):
    """``[begin, end, speakers]``: a region in seconds, and the number of simultaneous speakers."""

    begin: float
    end: float
    speakers: int


class SpeakerCount(msgspec.Struct, frozen=True):
    """Number of speakers with its confidence, and where they speak.

    Attributes:
        speakers: 0 to N.
        confidence: probability of that number; None if counting is not fitted or the number was given.
        tracks: indices of the tracks with speakers; all others are empty.
        probabilities: of 0, 1, … N speakers; empty without a confidence.
        more: probability of more speakers than tracks; None if not fitted.
        seconds: duration with 0, 1, … simultaneous speakers.
        regions: consecutive regions that cover the recording.
    """

    speakers: int
    confidence: float | None
    tracks: list[int]
    probabilities: list[float]
    more: float | None
    seconds: list[float]
    regions: list[Region]

    @property
    def warning(self) -> str | None:
        """A warning if the number is uncertain, else None."""
        if self.more is not None and self.more > 0.5:
            return f"may hold more than the separator's {len(self.probabilities) - 1} speakers; tracks may hold several"
        if self.confidence is not None and self.confidence < UNCERTAIN:
            return (
                f"{self.speakers} speakers with a probability of only {self.confidence:.2f}; give the number if known"
            )
        return None


@dataclass(frozen=True)
class Evidence:
    """Statistics of tracks for counting, a few hundred bytes per second.

    Attributes:
        levels: (N, T) in dBFS.
        products: (N, N) inner products of the tracks' samples.
        distances: (N, N) distances of their voices, NaN where a track has too little speech.
        samples: length of the tracks.
        rate: sample rate in hertz.
    """

    levels: NDArray[np.float32]
    products: Matrix
    distances: Matrix
    samples: int
    rate: int


class EvidenceCounter:
    """Accumulates `Evidence` over the blocks of a recording."""

    def __init__(self, tracks: int, rate: int):
        self.rate = rate
        self._size = max(1, round(FRAME_SECONDS * rate))
        self._partial_frame = np.zeros((tracks, 0), np.float32)
        self._levels: list[NDArray[np.float32]] = []
        self._products = np.zeros((tracks, tracks))
        self._samples = 0

    def add(self, tracks: Float) -> None:
        """The next samples of all tracks (N, S)."""
        self._samples += tracks.shape[1]
        exact = tracks.astype(np.float64)
        self._products += exact @ exact.T
        joined = np.concatenate([self._partial_frame, tracks], axis=1)
        end = joined.shape[1] // self._size * self._size
        self._levels.append(frame_levels(joined[:, :end], self._size))
        self._partial_frame = joined[:, end:]

    def evidence(self, voices: Sequence[Voice | None]) -> Evidence:
        """Evidence of the tracks so far, with the voices in them."""
        count = len(self._products)
        distances = np.full((count, count), np.nan)
        for row, first in enumerate(voices):
            for column, second in enumerate(voices):
                if first and second:
                    distances[row, column] = voice_distance(first, second)
        # A partial last frame counts as a frame.
        levels = [*self._levels, frame_levels(self._partial_frame, max(1, self._partial_frame.shape[1]))]
        return Evidence(np.concatenate(levels, axis=1), self._products.copy(), distances, self._samples, self.rate)


def frame_levels(tracks: Float, size: int) -> NDArray[np.float32]:
    """Levels (N, T) in dBFS of frames of ``size`` samples."""
    frames = tracks.reshape(len(tracks), -1, size)
    power = np.mean(np.square(frames, dtype=np.float64), axis=2) if tracks.size else np.zeros(frames.shape[:2])
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10))), np.float32)


def loudest_first(evidence: Evidence) -> list[int]:
    """Track indices by descending energy."""
    return [int(track) for track in np.argsort(-np.diag(evidence.products), kind="stable")]


def features(evidence: Evidence) -> Matrix:
    """`FEATURES` (N - 1, 5) of all tracks but the loudest, by descending energy.

    ``level_db`` is the energy relative to the loudest track; ``correlation`` (of samples) and ``envelope`` (of frame
    levels) are the largest correlation with a louder track; ``dominance`` is the share of active frames in which the
    track is 6 dB above all others; ``voice`` is the log distance to the nearest voice of a louder track, NaN if
    unknown.
    """
    order = loudest_first(evidence)
    energy = np.maximum(np.diag(evidence.products), 1e-12)
    peak_db = float(np.quantile(evidence.levels.max(0), 0.95)) if evidence.levels.size else FLOOR_DB
    levels = np.maximum(evidence.levels, max(peak_db - 60.0, FLOOR_DB))
    active = levels[:, levels.max(0, initial=FLOOR_DB) > peak_db - 30.0]
    rows = np.zeros((len(order) - 1, len(FEATURES)))
    for rank, track in enumerate(order[1:], 1):
        louder = order[:rank]
        others = np.delete(active, track, axis=0).max(0)
        nearest = evidence.distances[track, louder]
        known = nearest[np.isfinite(nearest)]
        rows[rank - 1] = (
            max(10 * np.log10(energy[track] / energy[order[0]]), -60.0),
            max(abs(evidence.products[track, other]) / np.sqrt(energy[track] * energy[other]) for other in louder),
            max(_correlation(levels[track], levels[other]) for other in louder),
            float(np.mean(active[track] > others + DOMINANT_DB)) if active.size else 0.0,
            np.log(max(float(known.min()), 1e-3)) if known.size else np.nan,
        )
    return rows


def speech_features(evidence: Evidence) -> Matrix:
    """`SPEECH_FEATURES` (1, 3) of the sum of the tracks; the envelope of speech is modulated at the syllable rate.

    ``range_db`` is the difference of the 95th and 10th percentiles of the levels, ``median_db`` that of the 95th and
    50th, ``modulation`` the share of the envelope's variance between 2 and 8 Hz.
    """
    levels = _sum_levels(evidence)
    if len(levels) < 4:
        return np.zeros((1, 3))
    low, middle, high = np.quantile(levels, (0.1, 0.5, 0.95))
    spectrum = np.abs(np.fft.rfft(levels - levels.mean())) ** 2
    rates = np.fft.rfftfreq(len(levels), FRAME_SECONDS)
    share = spectrum[(rates >= 2) & (rates <= 8)].sum() / max(float(spectrum.sum()), 1e-12)
    return np.array([[min(high - low, 80.0), min(high - middle, 80.0), share]])


def count_speakers(evidence: Evidence, counting: Counting | None, speakers: int | None = None) -> SpeakerCount:
    """Count the speakers of a recording.

    Without ``counting``, a further track counts if it is less than 25 dB below the loudest and dominates (by 6 dB) in
    at least 5 % of the active frames; there is no confidence then.

    Args:
        evidence: statistics of the tracks.
        counting: model fitted for the separator of these tracks.
        speakers: the number, if known; assigned to the loudest tracks.
    """
    order = loudest_first(evidence)
    silent = float(evidence.levels.max(initial=FLOOR_DB)) < SILENT_DB
    probabilities: list[float] = []
    more: float | None = None
    if silent:
        number = 0
    elif speakers is not None:
        number = min(speakers, len(order))
    elif counting is None:
        number = 1 + sum(bool(level > -25 and dominance > 0.05) for level, _, _, dominance, _ in features(evidence))
    else:
        rows = features(evidence)
        speech = 1.0 if counting.speech is None else float(_probability(counting.speech, speech_features(evidence))[0])
        probabilities = _number_probabilities([speech, *_probability(counting.another, rows)])
        number = int(np.argmax(probabilities))
        if counting.more is not None and number == len(order) and len(rows):
            more = float(_probability(counting.more, rows[-1:])[0])
    tracks = sorted(order[:number])
    thresholds = counting or Counting(LogisticModel([], [], [], [], 0.0))
    active = activity(evidence, tracks, thresholds.range_db, thresholds.leak_db)
    regions = overlap_regions(active.sum(0), seconds(evidence.samples, evidence.rate))
    durations = [0.0] * (max(number, 1) + 1)
    for region in regions:
        durations[region.speakers] += region.end - region.begin
    return SpeakerCount(
        speakers=number,
        confidence=round(probabilities[number], 4) if probabilities else None,
        tracks=tracks,
        probabilities=[round(probability, 4) for probability in probabilities],
        more=None if more is None else round(more, 4),
        seconds=[round(value, 3) for value in durations],
        regions=regions,
    )


def activity(evidence: Evidence, tracks: Sequence[int], range_db: float, leak_db: float) -> NDArray[np.bool_]:
    """Frames in which each of ``tracks`` is active (len(tracks), T); a single track gets the energy of all tracks."""
    single = len(tracks) == 1
    levels: Matrix = _sum_levels(evidence)[None] if single else evidence.levels[list(tracks)].astype(np.float64)
    if not levels.size:
        return np.zeros((len(tracks), evidence.levels.shape[1]), bool)
    floors = np.maximum(np.quantile(levels, 0.95, axis=1, keepdims=True) - range_db, SILENT_DB)
    active = (levels > floors) & (levels > levels.max(0) - leak_db)
    gap, burst = (round(length / FRAME_SECONDS) for length in (GAP_SECONDS, BURST_SECONDS))
    return np.stack([_without_bursts(_without_gaps(row, gap), burst) for row in active])


def speaking(sources: Sequence[Float], rate: int) -> NDArray[np.int_]:
    """Number of active clean sources (S,) per frame (T,): less than 30 dB below the loud frames of the source."""
    size = max(1, round(FRAME_SECONDS * rate))
    speakers = np.zeros(min(map(len, sources)) // size, int)
    for source in sources:
        levels = frame_levels(np.asarray(source, np.float32)[None, : len(speakers) * size], size)
        evidence = Evidence(levels, np.ones((1, 1)), np.zeros((1, 1)), len(speakers) * size, rate)
        speakers += activity(evidence, [0], 30.0, 1.0)[0]
    return speakers


def overlap_regions(speakers: NDArray[np.int_], duration: float) -> list[Region]:
    """Runs of frames with the same number of speakers (T,); the last one ends at ``duration`` seconds."""
    if not len(speakers):
        return []
    edges = np.concatenate([[0], np.flatnonzero(np.diff(speakers)) + 1, [len(speakers)]])
    times = [round(float(edge) * FRAME_SECONDS, 3) for edge in edges]
    times[-1] = round(duration, 3)
    return [
        Region(begin, end, int(speakers[edge]))
        for begin, end, edge in zip(times[:-1], times[1:], edges[:-1], strict=True)
    ]


def read_counting(folder: Path | str) -> Counting | None:
    """Read the counting model from a separator's folder; None if it has none.

    Raises:
        UserError: if it cannot be read.
    """
    path = Path(folder) / "counting.json"
    if not path.is_file():
        return None
    try:
        counting = msgspec.json.decode(path.read_bytes(), type=Counting)
        for name, features in (("another", FEATURES), ("more", FEATURES), ("speech", SPEECH_FEATURES)):
            _check_model(name, getattr(counting, name), features)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no calibration of speaker counting ({error}); fit it again") from error
    return counting


def _check_model(name: str, model: LogisticModel | None, features: Sequence[str]) -> None:
    """Refuse a regression on other features.

    Raises:
        ValueError: naming the difference.
    """
    if model is None:
        return
    if model.features != list(features):
        raise ValueError(f"{name} is not on the features {', '.join(features)}")
    wrong = [field for field in ("mean", "scale", "weights") if len(getattr(model, field)) != len(features)]
    if wrong:
        raise ValueError(f"{name} has another number of {wrong[0]} than its {len(features)} features")
    if min(model.scale) <= 0:
        raise ValueError(f"{name} has a scale of {min(model.scale):g}; scales are above 0")


def write_counting(folder: Path | str, counting: Counting) -> None:
    """Write the counting model of a separator into its folder."""
    from speechkit.io.atomic import write_json

    write_json(Path(folder) / "counting.json", counting)


def _probability(model: LogisticModel, rows: Matrix) -> NDArray[np.float64]:
    return model.probability(np.where(np.isfinite(rows), rows, np.array(model.mean)))


def _number_probabilities(present: Sequence[float]) -> list[float]:
    """Probabilities of 0, 1, … N speakers from those that each track, by descending energy, holds a speaker."""
    weights = [
        float(np.prod(present[:count]) * np.prod([1 - probability for probability in present[count:]]))
        for count in range(len(present) + 1)
    ]
    total = sum(weights) or 1.0
    return [weight / total for weight in weights]


def _sum_levels(evidence: Evidence) -> NDArray[np.float64]:
    power: NDArray[np.float64] = (10 ** (evidence.levels.astype(np.float64) / 10)).sum(0)
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10))))


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    if len(first) < 2:
        return 0.0
    first, second = first - first.mean(), second - second.mean()
    norm = float(np.sqrt((first * first).sum() * (second * second).sum()))
    return float((first * second).sum()) / norm if norm > 1e-9 else 0.0


def _without_bursts(active: NDArray[np.bool_], shortest: int) -> NDArray[np.bool_]:
    """Set runs of fewer than ``shortest`` true frames to false."""
    result: NDArray[np.bool_] = active.copy()
    for begin, end in true_runs(active):
        if end - begin < shortest:
            result[begin:end] = False
    return result


def _without_gaps(active: NDArray[np.bool_], shortest: int) -> NDArray[np.bool_]:
    """Fill gaps of fewer than ``shortest`` false frames between true frames."""
    filled = ~_without_bursts(~active, shortest)
    frames = np.flatnonzero(active)
    if len(frames):
        filled[: frames[0]] = False
        filled[frames[-1] + 1 :] = False
    result: NDArray[np.bool_] = filled & active.any()
    return result
