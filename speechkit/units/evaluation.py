"""Evaluation of quantizers: codebook use, rates, agreement with labels, explained variance, compression by BPE.

Notation used for array shapes: T frames, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.units.acoustic_bpe import AcousticBpe
from speechkit.units.health import codebook_health, entropy_bits, label_agreement
from speechkit.units.records import STACKED, CurvePoint, System, SystemScore
from speechkit.units.sequences import UnitSequence

FrameUnits = dict[str, NDArray[Any]]
"""The unit of every frame (T,) by the id of the recording."""


def score_units(
    system: System,
    frames: Mapping[str, NDArray[Any]],
    numbers: int,
    explained: float | None,
    labels: Mapping[str, list[str | None]] | None,
    units: int | None = None,
    frames_per_second: float = 50.0,
) -> SystemScore:
    """Score units given as one sequence per recording.

    Args:
        system: the quantizer.
        frames: the unit of every frame (T,) by id, below ``numbers``.
        numbers: number of distinct values.
        explained: see `SystemScore`.
        labels: of the same frames, by id, of some or all recordings.
        units: number of possible units, if larger than ``numbers``.
        frames_per_second: of the encoder.
    """
    health = codebook_health(frames.values(), numbers, frames_per_second)
    if units is not None:
        health = msgspec.structs.replace(health, clusters=units, dead=health.dead + units - numbers)
    agreement = label_agreement([frames[name] for name in labels], list(labels.values())) if labels else None
    return SystemScore(system, explained, health, agreement)


def score_quantizer(
    streams: Sequence[System],
    parts: Sequence[FrameUnits],
    system: System,
    explained: float,
    labels: Mapping[str, list[str | None]] | None,
    frames_per_second: float = 50.0,
) -> tuple[list[SystemScore], FrameUnits]:
    """The scores of each codebook of a stacked quantizer and of any quantizer as a whole; and the units of the latter.

    Args:
        streams: one, or one for each codebook.
        parts: the units of each.
        system: the quantizer.
        explained: see `SystemScore`.
        labels: of the frames of some or all recordings.
        frames_per_second: of the encoder.
    """
    rate = frames_per_second
    scores = []
    if system.kind in STACKED:
        for stream, frames in zip(streams, parts, strict=True):
            scores.append(score_units(stream, frames, system.clusters, None, labels, frames_per_second=rate))
    frames, used = combine_codebooks(parts, system.clusters)
    whole = system.clusters ** len(parts)
    scores.append(score_units(system, frames, used or whole, explained, labels, whole, rate))
    return scores, frames


def combine_codebooks(parts: Sequence[FrameUnits], clusters: int) -> tuple[FrameUnits, int | None]:
    """Units of several codebooks as one: numbers the occurring combinations, and returns how many there are.

    One codebook is left as it is, with None.
    """
    if len(parts) == 1:
        return parts[0], None
    names = list(parts[0])
    whole = np.zeros(sum(len(parts[0][name]) for name in names), np.int64)
    used = 0
    for part in parts:
        # Numbered anew after each codebook, so that no product overflows.
        seen, whole = np.unique(whole * clusters + np.concatenate([part[name] for name in names]), return_inverse=True)
        used = len(seen)
    ends = np.cumsum([len(parts[0][name]) for name in names])[:-1]
    return dict(zip(names, np.split(whole, ends), strict=True)), used


class Variance:
    """Running sums of the variance of frames and of their reconstruction error."""

    def __init__(self) -> None:
        self.frames = 0
        self.sum: Any = 0.0
        self.squares = self.missed = 0.0

    def add(self, rows: NDArray[np.float32], reconstructed: NDArray[np.float32]) -> None:
        """Add frames (T, D) and their reconstructions (T, D)."""
        self.frames += len(rows)
        self.sum = self.sum + rows.sum(axis=0, dtype=np.float64)
        self.squares += float(np.square(rows, dtype=np.float64).sum())
        self.missed += float(np.square(rows - reconstructed, dtype=np.float64).sum())

    def explained(self) -> float:
        """Explained share of the variance, 1 - residual / total; 0 where there is no variance."""
        whole = self.squares - float((self.sum**2).sum()) / max(self.frames, 1)
        return 1.0 - self.missed / whole if whole > 0 else 0.0


def explained_variance(quantizer: Any, batches: Iterable[NDArray[np.float32]]) -> float:
    """The share of the variance of all frames, in the space where the quantizer compares them."""
    variance = Variance()
    for frames in batches:
        units = quantizer.assign(frames)
        if hasattr(quantizer, "reconstruct"):
            variance.add(np.asarray(frames, np.float32), quantizer.reconstruct(units))
        else:
            variance.add(quantizer.normalized(frames), quantizer.centroids[units])
    return variance.explained()


def curve_point(
    bpe: AcousticBpe,
    size: int,
    units: Sequence[UnitSequence],
    tokens: Sequence[UnitSequence],
    frames_per_second: float = 50.0,
) -> CurvePoint:
    """The point of the first merges up to ``size`` tokens, without n-grams.

    Args:
        bpe: learned on training units.
        size: how many tokens there are.
        units: of the test recordings.
        tokens: that ``bpe``, cut to this size, makes of these units.
        frames_per_second: of the encoder.
    """
    joined = np.concatenate([np.asarray(row.units, np.int64) for row in tokens])
    rate = len(joined) / (sum(sum(row.durations) for row in units) / frames_per_second)
    return CurvePoint(
        tokens=size,
        train=round(bpe.lengths[0] / bpe.lengths[size - bpe.base], 4),
        test=round(sum(len(row.units) for row in units) / len(joined), 4),
        per_second=round(rate, 3),
        bits_per_second=round(rate * entropy_bits(np.bincount(joined)), 2),
    )
