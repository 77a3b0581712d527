"""How many people speak, by what a separator's tracks look like, and where they speak at once. Torch-free.

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
"""A frame below it is silent in any recording."""
FEATURES = ("level_db", "correlation", "envelope", "dominance", "voice")
SPEECH_FEATURES = ("range_db", "median_db", "modulation")
UNSURE = 0.7
GAP_SECONDS, BURST_SECONDS = 0.3, 0.1


class Counting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What makes probabilities and activity of the tracks of one separator; kept beside it as ``counting.json``.

    Attributes:
        another: whether a track behind the first holds a speaker of its own; of `FEATURES`.
        more: whether there are more speakers than tracks; of `FEATURES` of the weakest track. None: never learnt.
        speech: whether the loudest track holds speech at all; of `SPEECH_FEATURES`. None: everything that sounds does.
        range_db: a frame is active when it is less than this below the loud frames of its track …
        leak_db: … and less than this below the loudest track in that frame.
        provenance: what it was fitted on, and how well that went on what was left out.
    """

    another: LogisticModel
    more: LogisticModel | None = None
    speech: LogisticModel | None = None
    range_db: float = 30.0
    leak_db: float = 15.0
    provenance: dict[str, str | float] = {}


class Region(msgspec.Struct, frozen=True, array_like=True):
    """``[begin, end, speakers]``: from and to, in seconds, and how many speak there at once."""

    begin: float
    end: float
    speakers: int


class SpeakerCount(msgspec.Struct, frozen=True):
    """How many people speak, how sure that is, and where.

    Attributes:
        speakers: 0 to N.
        confidence: probability of that number; None where nobody fitted it or the number was given.
        tracks: places of the tracks that hold them, from 0; all others are empty.
        probabilities: of 0, 1, … N speakers; empty where there is no confidence.
        more: probability of more speakers than tracks; None where that was never learnt.
        seconds: of 0, 1, … speakers at once.
        regions: the same in order of time; they meet and cover the recording.
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
        """What to say where the number is not to be trusted."""
        if self.more is not None and self.more > 0.5:
            return f"may hold more than the separator's {len(self.probabilities) - 1} speakers; tracks may hold several"
        if self.confidence is not None and self.confidence < UNSURE:
            return (
                f"{self.speakers} speakers with a probability of {self.confidence:.2f} only; give the number if known"
            )
        return None


@dataclass(frozen=True)
class Evidence:
    """What is kept of tracks for counting, some hundred bytes a second.

    ``levels`` (N, T) in decibels of full scale; ``products`` (N, N) of the samples of tracks; ``distances`` (N, N) of
    their voices, NaN where one said too little; ``samples`` at ``rate`` in hertz.
    """

    levels: NDArray[np.float32]
    products: Matrix
    distances: Matrix
    samples: int
    rate: int


class EvidenceCounter:
    """Sums over the tracks of a recording as they come."""

    def __init__(self, tracks: int, rate: int):
        self.rate = rate
        self._size = max(1, round(FRAME_SECONDS * rate))
        self._rest = np.zeros((tracks, 0), np.float32)
        self._levels: list[NDArray[np.float32]] = []
        self._products = np.zeros((tracks, tracks))
        self._samples = 0

    def add(self, tracks: Float) -> None:
        """The next samples of all tracks (N, S)."""
        self._samples += tracks.shape[1]
        wide = tracks.astype(np.float64)
        self._products += wide @ wide.T
        joined = np.concatenate([self._rest, tracks], axis=1)
        whole = joined.shape[1] // self._size * self._size
        self._levels.append(frame_levels(joined[:, :whole], self._size))
        self._rest = joined[:, whole:]

    def evidence(self, voices: Sequence[Voice | None]) -> Evidence:
        """What the tracks so far show, with the voices that were heard in them."""
        count = len(self._products)
        distances = np.full((count, count), np.nan)
        for row, first in enumerate(voices):
            for column, second in enumerate(voices):
                if first and second:
                    distances[row, column] = voice_distance(first, second)
        # A last frame that is not whole counts as one.
        levels = [*self._levels, frame_levels(self._rest, max(1, self._rest.shape[1]))]
        return Evidence(np.concatenate(levels, axis=1), self._products.copy(), distances, self._samples, self.rate)


def frame_levels(tracks: Float, size: int) -> NDArray[np.float32]:
    """Levels (N, T) in decibels of full scale of frames of ``size`` samples."""
    frames = tracks.reshape(len(tracks), -1, size)
    power = np.mean(np.square(frames, dtype=np.float64), axis=2) if tracks.size else np.zeros(frames.shape[:2])
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10))), np.float32)


def loudest_first(evidence: Evidence) -> list[int]:
    """Tracks by energy."""
    return [int(track) for track in np.argsort(-np.diag(evidence.products), kind="stable")]


def features(evidence: Evidence) -> Matrix:
    """`FEATURES` (N - 1, 5) of every track behind the loudest, the louder ones first.

    ``level_db`` is its energy under the loudest; ``correlation`` of its samples, and ``envelope`` of its frames'
    levels, that with the louder track which it resembles most; ``dominance`` the share of the active frames in which
    it is 6 dB above all others; ``voice`` the logarithm of its distance to the nearest voice, NaN where unknown.
    """
    order = loudest_first(evidence)
    energy = np.maximum(np.diag(evidence.products), 1e-12)
    top = float(np.quantile(evidence.levels.max(0), 0.95)) if evidence.levels.size else FLOOR_DB
    levels = np.maximum(evidence.levels, max(top - 60.0, FLOOR_DB))
    sounding = levels[:, levels.max(0, initial=FLOOR_DB) > top - 30.0]
    rows = np.zeros((len(order) - 1, len(FEATURES)))
    for rank, track in enumerate(order[1:], 1):
        louder = order[:rank]
        others = np.delete(sounding, track, axis=0).max(0)
        nearest = evidence.distances[track, louder]
        known = nearest[np.isfinite(nearest)]
        rows[rank - 1] = (
            max(10 * np.log10(energy[track] / energy[order[0]]), -60.0),
            max(abs(evidence.products[track, other]) / np.sqrt(energy[track] * energy[other]) for other in louder),
            max(_correlation(levels[track], levels[other]) for other in louder),
            float(np.mean(sounding[track] > others + DOMINANT_DB)) if sounding.size else 0.0,
            np.log(max(float(known.min()), 1e-3)) if known.size else np.nan,
        )
    return rows


def speech_features(evidence: Evidence) -> Matrix:
    """`SPEECH_FEATURES` (1, 3) of the sum of the tracks: speech comes and goes, three to eight times a second.

    ``range_db`` from the 10th to the 95th percentile of the levels, ``median_db`` from the 50th to the 95th,
    ``modulation`` the share of the envelope's variance between 2 and 8 Hz.
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
    """How many people speak.

    Without ``counting`` a track behind the first counts when it is less than 25 dB under the loudest and alone, or
    6 dB above the others, in a twentieth of the speech; there is no confidence then.

    Args:
        evidence: of the tracks.
        counting: fitted for the separator that made them.
        speakers: the number, if known; the loudest tracks are taken to hold them.
    """
    order = loudest_first(evidence)
    silent = float(evidence.levels.max(initial=FLOOR_DB)) < SILENT_DB
    chances: list[float] = []
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
        chances = _number_probabilities([speech, *_probability(counting.another, rows)])
        number = int(np.argmax(chances))
        if counting.more is not None and number == len(order) and len(rows):
            more = float(_probability(counting.more, rows[-1:])[0])
    tracks = sorted(order[:number])
    rules = counting or Counting(LogisticModel([], [], [], [], 0.0))
    active = activity(evidence, tracks, rules.range_db, rules.leak_db)
    regions = overlap_regions(active.sum(0), seconds(evidence.samples, evidence.rate))
    spent = [0.0] * (max(number, 1) + 1)
    for region in regions:
        spent[region.speakers] += region.end - region.begin
    return SpeakerCount(
        speakers=number,
        confidence=round(chances[number], 4) if chances else None,
        tracks=tracks,
        probabilities=[round(chance, 4) for chance in chances],
        more=None if more is None else round(more, 4),
        seconds=[round(value, 3) for value in spent],
        regions=regions,
    )


def activity(evidence: Evidence, tracks: Sequence[int], range_db: float, leak_db: float) -> NDArray[np.bool_]:
    """In which frames each of ``tracks`` speaks (len(tracks), T); one alone has the energy of all of them."""
    alone = len(tracks) == 1
    levels: Matrix = _sum_levels(evidence)[None] if alone else evidence.levels[list(tracks)].astype(np.float64)
    if not levels.size:
        return np.zeros((len(tracks), evidence.levels.shape[1]), bool)
    floors = np.maximum(np.quantile(levels, 0.95, axis=1, keepdims=True) - range_db, SILENT_DB)
    active = (levels > floors) & (levels > levels.max(0) - leak_db)
    gap, burst = (round(length / FRAME_SECONDS) for length in (GAP_SECONDS, BURST_SECONDS))
    return np.stack([_without_runs(_filled(row, gap), burst) for row in active])


def speaking(sources: Sequence[Float], rate: int) -> NDArray[np.int_]:
    """How many of clean sources (S,) speak in each frame (T,): less than 30 dB below the loud frames of their own."""
    size = max(1, round(FRAME_SECONDS * rate))
    speakers = np.zeros(min(map(len, sources)) // size, int)
    for source in sources:
        levels = frame_levels(np.asarray(source, np.float32)[None, : len(speakers) * size], size)
        alone = Evidence(levels, np.ones((1, 1)), np.zeros((1, 1)), len(speakers) * size, rate)
        speakers += activity(alone, [0], 30.0, 1.0)[0]
    return speakers


def overlap_regions(speakers: NDArray[np.int_], duration: float) -> list[Region]:
    """Runs of an equal number of speakers (T,), the last one to ``duration`` in seconds."""
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
    """The counting of the separator in a folder; None where it has none.

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
    """Refuse a regression that is not one on these features.

    Raises:
        ValueError: with what is wrong.
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
    """Keep the counting of a separator beside its weights."""
    from speechkit.io.atomic import write_json

    write_json(Path(folder) / "counting.json", counting)


def _probability(model: LogisticModel, rows: Matrix) -> NDArray[np.float64]:
    return model.probability(np.where(np.isfinite(rows), rows, np.array(model.mean)))


def _number_probabilities(present: Sequence[float]) -> list[float]:
    """Of 0, 1, … N speakers, from the probability that each track, the loudest first, holds one."""
    chances = [
        float(np.prod(present[:count]) * np.prod([1 - each for each in present[count:]]))
        for count in range(len(present) + 1)
    ]
    total = sum(chances) or 1.0
    return [chance / total for chance in chances]


def _sum_levels(evidence: Evidence) -> NDArray[np.float64]:
    power: NDArray[np.float64] = (10 ** (evidence.levels.astype(np.float64) / 10)).sum(0)
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10))))


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    if len(first) < 2:
        return 0.0
    one, two = first - first.mean(), second - second.mean()
    norm = float(np.sqrt((one * one).sum() * (two * two).sum()))
    return float((one * two).sum()) / norm if norm > 1e-9 else 0.0


def _without_runs(row: NDArray[np.bool_], shortest: int) -> NDArray[np.bool_]:
    """Runs of fewer than ``shortest`` true frames become false."""
    kept: NDArray[np.bool_] = row.copy()
    for begin, end in true_runs(row):
        if end - begin < shortest:
            kept[begin:end] = False
    return kept


def _filled(row: NDArray[np.bool_], shortest: int) -> NDArray[np.bool_]:
    """Gaps of fewer than ``shortest`` false frames become true, but not those at the begin and the end."""
    filled = ~_without_runs(~row, shortest)
    active = np.flatnonzero(row)
    if len(active):
        filled[: active[0]] = False
        filled[active[-1] + 1 :] = False
    kept: NDArray[np.bool_] = filled & row.any()
    return kept
