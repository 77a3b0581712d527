"""Training segments of `SelfSegmentation`: stage 1 from any segmenter, stage 2 from the trained teacher."""

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
"""A norm that only frames set to zero do not reach."""
CLEARLY_APART = 2.0
"""Deviations between the norms of speech and silence, from which on the norm alone tells them apart."""
MERGE_SPREAD = 0.05
"""Around the cosine that gives the syllable rate."""


class Seeds(msgspec.Struct, frozen=True):
    """How stage 1 cuts speech; see `SeedsConfig`. ``penalty`` is of ``dynamic``, found on the training speech."""

    segmenter: Literal["dynamic", "envelope", "tier"]
    shortest: int
    longest: int
    silence_db: float
    silence_frames: int
    penalty: float | None = None

    def speech_runs(self, waveform: Float) -> Boundaries:
        """Stretches (n, 2) of frames near the level of the recording's loud ones, short silences filled.

        Digital silence is no speech, and does not count when the loud ones are looked for.
        """
        levels = frame_levels(waveform)
        heard = levels > FLOOR_DECIBELS
        if not heard.any():
            return np.zeros((0, 2), np.int64)
        loud = heard & (levels >= np.quantile(levels[heard], LOUD_SHARE) - self.silence_db)
        merged: list[list[int]] = []
        for start, end in true_runs(loud).tolist():
            if merged and start - merged[-1][1] < self.silence_frames:
                merged[-1][1] = end
            else:
                merged.append([start, end])
        return np.array(merged, np.int64).reshape(-1, 2)

    def settings(self, rows: Sequence[Utterance], manifest: Path) -> dict[str, Any]:
        """What `SelfSegmentation` needs to take these segments of the rows of a manifest."""
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
        UserError: if it has none, or its segments overlap or run backwards.
    """
    tier = (row.alignment or {}).get("syllable")
    if tier is None:
        raise UserError(f"{row.id} has no tier 'syllable'; write one, or choose another seeds.segmenter")
    try:
        return in_frames(Segment(item.start, item.start + item.duration) for item in tier)
    except UserError as error:
        raise UserError(f"{row.id}: tier 'syllable': {error}") from error


def rate_penalty(
    seeds: Seeds, rows: Sequence[Utterance], manifest: Path, encode: Callable[[Float], Float], rate: float
) -> float:
    """The duration penalty at which the speech of some recordings has a rate of segments a second."""
    stretches = []
    for row in rows:
        waveform = read_waveform(row, manifest)
        frames = encode(waveform)
        stretches += [frames[start:end] for start, end in seeds.speech_runs(waveform) if start < min(end, len(frames))]
    return penalty_for_rate(stretches, rate, shortest=seeds.shortest, longest=seeds.longest)


class Cutting(msgspec.Struct, frozen=True):
    """Segmentation settings of the stage 2 teacher.

    Attributes:
        norm: a frame of at least this norm is speech.
        separation: of the norms of speech and silence, in deviations.
        silence_by: ``norm``; or ``loudness`` where the norms overlap, as those of a teacher that learnt little.
        merge_range: cosines that are drawn from.
    """

    norm: float
    separation: float
    silence_by: str
    merge_range: tuple[float, float]

    def settings(self, seeds: Seeds) -> dict[str, Any]:
        """What `SelfSegmentation` needs to cut its teacher's frames with a threshold that is drawn for each batch."""

        def online(merge: float) -> Segmenter:
            return make_segmenter("greedy", norm=self.norm, merge=merge)

        speech = None if self.silence_by == "norm" else seeds.speech_runs
        return {"online": online, "speech": speech, "merge_range": self.merge_range}


def teacher_cutting(
    encoder: Encoder,
    waveforms: Sequence[Float],
    seeds: Seeds,
    rate: float,
    merge_range: tuple[float, float] | None = None,
) -> Cutting:
    """Estimate a teacher's segmentation settings on some recordings before training.

    Args:
        encoder: the teacher.
        waveforms: each (samples,) at 16 kHz.
        seeds: say what is speech where the norms do not.
        rate: segments a second of speech.
        merge_range: cosines to draw from; when absent, `MERGE_SPREAD` to both sides of the one that gives the rate.
    """
    tables = [encoder.encode(waveform) for waveform in waveforms]
    kinds = fit_two_gaussians(np.concatenate([frame_norms(table) for table in tables]), "norms of frames")
    by_norm = kinds.separation >= CLEARLY_APART
    if not by_norm:
        for table, waveform in zip(tables, waveforms, strict=True):
            silent = np.ones(len(table), bool)
            for start, end in seeds.speech_runs(waveform):
                silent[start:end] = False
            table[silent] = 0
    if merge_range is None:
        merge = estimate_thresholds(tables, encoder.spec, rate=rate).merge
        # A segmenter refuses what is no cosine, and would do so in the middle of the training.
        merge_range = (max(merge - MERGE_SPREAD, -1.0), min(merge + MERGE_SPREAD, 1.0))
    norm = kinds.crossing if by_norm else ABOVE_ZERO
    return Cutting(norm, kinds.separation, "norm" if by_norm else "loudness", merge_range)
