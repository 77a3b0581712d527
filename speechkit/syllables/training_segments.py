"""Training segments of `SelfSegmentation`: from any segmenter in stage 1, from the teacher in stage 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from speechkit.data.audio import read_waveform
from speechkit.data.records import Utterance
from speechkit.encoders.encoder import Encoder
from speechkit.errors import UserError
from speechkit.io.arrays import Float, true_runs
from speechkit.syllables.dynamic import DynamicSegmenter, penalty_for_rate
from speechkit.syllables.envelope import FLOOR_DECIBELS, LOUD_SHARE, EnvelopeSegmenter, frame_levels
from speechkit.syllables.segmenters import make_segmenter
from speechkit.syllables.segments import Boundaries, Segment, Segmenter, frame_norms, in_frames
from speechkit.syllables.thresholds import estimate_thresholds, fit_two_gaussians

ABOVE_ZERO = 1e-6
"""Norm threshold that excludes only frames set to zero."""
MIN_SEPARATION = 2.0
"""Separation of the norms of speech and silence above which the norm alone detects silence."""
MERGE_MARGIN = 0.05
"""Half-width of the merge range around the cosine of the syllable rate."""


class Seeds(msgspec.Struct, frozen=True):
    """Segmentation settings of stage 1, see `SeedsConfig`; ``penalty`` of ``dynamic`` is estimated from the data."""

    segmenter: Literal["dynamic", "envelope", "tier"]
    shortest: int
    longest: int
    silence_db: float
    silence_frames: int
    penalty: float | None = None

    def speech_runs(self, waveform: Float) -> Boundaries:
        """Runs (n, 2) of frames within ``silence_db`` of the 95th percentile of the level, with short gaps filled.

        Digital silence is excluded from speech and from the percentile.
        """
        levels = frame_levels(waveform)
        audible = levels > FLOOR_DECIBELS
        if not audible.any():
            return np.zeros((0, 2), np.int64)
        loud = audible & (levels >= np.quantile(levels[audible], LOUD_SHARE) - self.silence_db)
        merged: list[list[int]] = []
        for start, end in true_runs(loud).tolist():
            if merged and start - merged[-1][1] < self.silence_frames:
                merged[-1][1] = end
            else:
                merged.append([start, end])
        return np.array(merged, np.int64).reshape(-1, 2)

    def settings(self, rows: Sequence[Utterance], manifest: Path) -> dict[str, Any]:
        """Arguments of `SelfSegmentation` for these segments of a manifest's rows."""
        if self.segmenter == "dynamic":
            assert self.penalty is not None
            segmenter = DynamicSegmenter(self.penalty, self.shortest, self.longest, norm=ABOVE_ZERO)
            return {"online": lambda _: segmenter, "speech": self.speech_runs}
        if self.segmenter == "tier":
            return {"stored": lambda item: tier_spans(rows[item])}
        envelope = EnvelopeSegmenter(silence_decibels=self.silence_db)

        @lru_cache(4096)
        def spans(item: int) -> Boundaries:
            return envelope.segment(read_waveform(rows[item], manifest))

        return {"stored": spans}


def tier_spans(row: Utterance) -> Boundaries:
    """The tier ``syllable`` of a row, in frames of 20 ms.

    Raises:
        UserError: if the tier is missing, or its segments overlap or run backwards.
    """
    tier = (row.alignment or {}).get("syllable")
    if tier is None:
        raise UserError(f"{row.id} has no tier 'syllable'; add one, or choose another seeds.segmenter")
    try:
        return in_frames(Segment(item.start, item.start + item.duration) for item in tier)
    except UserError as error:
        raise UserError(f"{row.id}: tier 'syllable': {error}") from error


def rate_penalty(
    seeds: Seeds, rows: Sequence[Utterance], manifest: Path, encode: Callable[[Float], Float], rate: float
) -> float:
    """The penalty of `DynamicSegmenter` that gives the speech of the recordings a rate of segments per second."""
    runs = []
    for row in rows:
        waveform = read_waveform(row, manifest)
        frames = encode(waveform)
        runs += [frames[start:end] for start, end in seeds.speech_runs(waveform) if start < min(end, len(frames))]
    return penalty_for_rate(runs, rate, shortest=seeds.shortest, longest=seeds.longest)


class TeacherSegmentation(msgspec.Struct, frozen=True):
    """Segmentation settings of the stage 2 teacher.

    Attributes:
        norm: minimum norm of a frame of speech.
        separation: of the norms of speech and silence, in standard deviations.
        silence_by: ``norm``, or ``loudness`` if the norms overlap.
        merge_range: range of the merge threshold.
    """

    norm: float
    separation: float
    silence_by: str
    merge_range: tuple[float, float]

    def settings(self, seeds: Seeds) -> dict[str, Any]:
        """Arguments of `SelfSegmentation` to segment the teacher's frames with a threshold drawn per batch."""

        def online(merge: float) -> Segmenter:
            return make_segmenter("greedy", norm=self.norm, merge=merge)

        speech = None if self.silence_by == "norm" else seeds.speech_runs
        return {"online": online, "speech": speech, "merge_range": self.merge_range}


def estimate_teacher_segmentation(
    encoder: Encoder,
    waveforms: Sequence[Float],
    seeds: Seeds,
    rate: float,
    merge_range: tuple[float, float] | None = None,
) -> TeacherSegmentation:
    """Estimate a teacher's segmentation settings from recordings.

    Args:
        encoder: the teacher.
        waveforms: each (samples,) at 16 kHz.
        seeds: detects speech by level if the norms overlap.
        rate: segments per second of speech.
        merge_range: range of the merge threshold; default: `MERGE_MARGIN` around the value that gives the rate.
    """
    tables = [encoder.encode(waveform) for waveform in waveforms]
    mixture = fit_two_gaussians(np.concatenate([frame_norms(table) for table in tables]), "norms of frames")
    by_norm = mixture.separation >= MIN_SEPARATION
    if not by_norm:
        for table, waveform in zip(tables, waveforms, strict=True):
            silent = np.ones(len(table), bool)
            for start, end in seeds.speech_runs(waveform):
                silent[start:end] = False
            table[silent] = 0
    if merge_range is None:
        merge = estimate_thresholds(tables, encoder.spec, rate=rate).merge
        # Clip to valid cosines, which the segmenter requires.
        merge_range = (max(merge - MERGE_MARGIN, -1.0), min(merge + MERGE_MARGIN, 1.0))
    norm = mixture.crossing if by_norm else ABOVE_ZERO
    return TeacherSegmentation(norm, mixture.separation, "norm" if by_norm else "loudness", merge_range)
