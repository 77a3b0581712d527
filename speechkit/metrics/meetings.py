"""Word error rates of meetings with speaker attribution, where speaker labels differ from the reference.

cpWER takes the assignment of speakers with the fewest errors; ORC-WER assigns each reference utterance to any stream of
the hypothesis, so that speaker errors do not count; tcpWER is cpWER where words match only within a collar.
MeetEval computes all three. Sources: Watanabe et al. 2020 (CHiME-6), Sklyar et al. 2022, von
Neumann et al. 2023 (MeetEval).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError, require
from speechkit.metrics.alignments import Counts
from speechkit.metrics.bootstrap import DEFAULT_RESAMPLES
from speechkit.metrics.rate_tables import Draws, ErrorRate, error_rate
from speechkit.metrics.significance import PairedDifference, holm, paired_difference
from speechkit.metrics.transcripts import read_transcripts, transcript_format
from speechkit.text import NormalizerSpec, get_normalizer

Measure = Literal["cpwer", "orcwer", "tcpwer"]
MEASURES: dict[Measure, str] = {"cpwer": "cpWER", "orcwer": "ORC-WER", "tcpwer": "tcpWER"}
COLLAR = 5.0


class Segment(msgspec.Struct, frozen=True):
    """Words of one speaker in one recording, seconds from its start; times are None if the file has none."""

    recording: str
    speaker: str
    words: str
    begin: float | None = None
    end: float | None = None


class MeetingRates(msgspec.Struct, frozen=True):
    """One measure: rates by system, and the tests of all pairs with p-values adjusted for them (Holm)."""

    measure: Measure
    systems: dict[str, ErrorRate]
    pairs: list[MeetingPair]


class MeetingPair(msgspec.Struct, frozen=True):
    """Rate of the first minus that of the second."""

    first: str
    second: str
    difference: PairedDifference
    holm_p: float


class MeetingScores(msgspec.Struct, frozen=True):
    """All measures over the same recordings, which are the resampling units."""

    recordings: int
    normalizer: NormalizerSpec
    collar_seconds: float
    confidence: float
    resamples: int
    seed: int
    rates: list[MeetingRates]
    notes: list[str]


def known_measures(given: Sequence[str] | None) -> list[Measure]:
    """The named measures; default: all.

    Raises:
        UserError: if there is no such measure.
    """
    for name in given or ():
        if name not in MEASURES:
            raise UserError(f"unknown measure {name!r}; choose from {', '.join(MEASURES)}")
    return [measure for measure in MEASURES if not given or measure in given]


def read_segments(path: Path, role: Literal["reference", "hypothesis"] = "reference") -> list[Segment]:
    """Segments of an stm (whatever their channel), or rows with recording, speaker, offset, duration and text.

    Raises:
        UserError: if a segment has no recording or no speaker, with its id.
    """
    segments = []
    stm = transcript_format(path) == "stm"
    for transcript in read_transcripts(path, role):
        audio = transcript.audio
        recording = audio.path if stm and audio is not None else transcript.recording
        for field, value in (("recording", recording), ("speaker", transcript.speaker)):
            if not value:
                raise UserError(f"{path}: {transcript.id} has no {field}; give each segment one, as .stm or as rows")
        begin = None if audio is None or audio.duration is None else audio.offset
        end = None if begin is None or audio is None or audio.duration is None else begin + audio.duration
        segments.append(Segment(recording or "", transcript.speaker or "", transcript.text or "", begin, end))
    return segments


def meeting_counts(
    reference: Sequence[Segment],
    hypothesis: Sequence[Segment],
    measure: Measure,
    *,
    normalizer: str = "none",
    collar_seconds: float = COLLAR,
) -> dict[str, Counts]:
    """Counts of each recording of the reference, in order; a recording without a hypothesis counts as deletions.

    Raises:
        MissingExtraError: without the package meeteval.
        UserError: if the hypothesis has a recording that the reference lacks, or times for tcpWER are missing.
    """
    meeteval = require("meeteval.wer")
    names = list(dict.fromkeys(segment.recording for segment in reference))
    beyond = sorted({segment.recording for segment in hypothesis} - set(names))
    if beyond:
        raise UserError(f"{beyond[0]}: is not in the reference; give the reference of every recording")
    if measure == "tcpwer" and any(segment.begin is None for segment in (*reference, *hypothesis)):
        raise UserError("tcpWER needs the times of all segments; give files with times, or choose cpwer or orcwer")
    common = {segment.recording for segment in hypothesis}
    sides = [
        _rows((segment for segment in side if segment.recording in common), normalizer)
        for side in (reference, hypothesis)
    ]
    options = {"collar": collar_seconds} if measure == "tcpwer" else {}
    rates = getattr(meeteval, measure)(*sides, **options) if common else {}
    words = dict.fromkeys(names, 0)
    normalize = get_normalizer(normalizer)
    for segment in reference:
        words[segment.recording] += len(normalize(segment.words).split())
    counts = {}
    for name in names:
        if name not in common:
            counts[name] = Counts(0, 0, words[name], 0)
            continue
        rate = rates[name]
        wrong = rate.substitutions + rate.deletions
        counts[name] = Counts(rate.length - wrong, rate.substitutions, rate.deletions, rate.insertions)
    return counts


def _rows(segments: Iterable[Segment], normalizer: str) -> Any:
    """The segments in MeetEval's form."""
    normalize = get_normalizer(normalizer)
    rows = []
    for segment in segments:
        row: dict[str, Any] = {
            "session_id": segment.recording,
            "speaker": segment.speaker,
            "words": " ".join(normalize(segment.words).split()),
        }
        if segment.begin is not None and segment.end is not None:
            row |= {"start_time": segment.begin, "end_time": segment.end}
        rows.append(row)
    return require("meeteval.io").SegLST(rows)


def compare_meetings(
    reference: Sequence[Segment],
    hypotheses: Mapping[str, Sequence[Segment]],
    *,
    measures: Sequence[Measure] = ("cpwer", "orcwer", "tcpwer"),
    normalizer: str = "simple",
    collar_seconds: float = COLLAR,
    confidence: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> MeetingScores:
    """Every measure of every system, with intervals and paired tests over recordings.

    Raises:
        UserError: as `meeting_counts`.
    """
    recordings = list(dict.fromkeys(segment.recording for segment in reference))
    absent = {
        name: set(recordings) - {segment.recording for segment in segments} for name, segments in hypotheses.items()
    }
    draws = Draws(recordings, confidence, resamples, seed)
    rates = []
    for measure in measures:
        tables: dict[str, NDArray[np.int32]] = {}
        for name, segments in hypotheses.items():
            counts = meeting_counts(reference, segments, measure, normalizer=normalizer, collar_seconds=collar_seconds)
            tables[name] = np.array([msgspec.structs.astuple(counts[recording]) for recording in recordings], np.int32)
        drawn = draws.of(list(tables.values()))
        systems = {
            name: error_rate(
                Counts(*table.sum(axis=0).tolist()), None if drawn is None else drawn.interval(index, confidence)
            )
            for index, (name, table) in enumerate(tables.items())
        }
        pairs: list[MeetingPair] = []
        if drawn is not None:
            both = [(i, j) for i in range(len(tables)) for j in range(i + 1, len(tables))]
            tests = [paired_difference(drawn, i, j, confidence) for i, j in both]
            names = list(tables)
            for (i, j), test, p in zip(both, tests, holm([test.p_value for test in tests]), strict=True):
                pairs.append(MeetingPair(names[i], names[j], test, p))
        rates.append(MeetingRates(measure, systems, pairs))
    return MeetingScores(
        recordings=len(recordings),
        normalizer=get_normalizer(normalizer).spec,
        collar_seconds=collar_seconds,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        rates=rates,
        notes=[
            f"{name}: {len(lost)} recordings have no hypothesis and count as deleted ({sorted(lost)[0]})"
            for name, lost in absent.items()
            if lost
        ],
    )
