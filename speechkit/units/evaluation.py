"""Evaluation of quantizers: codebook usage, rates, label agreement, explained variance, and compression by BPE.

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
"""Frame-level units (T,) by recording id."""


def score_units(
    system: System,
    frames: Mapping[str, NDArray[Any]],
    num_values: int,
    explained: float | None,
    labels: Mapping[str, list[str | None]] | None,
    units: int | None = None,
    frames_per_second: float = 50.0,
) -> SystemScore:
    """Score units given as one sequence per recording.

    Args:
        system: the quantizer.
        frames: frame-level units (T,) by id, below ``num_values``.
        num_values: number of distinct values.
        explained: see `SystemScore`.
        labels: of the same frames, by id, for some or all recordings.
        units: number of possible units, if larger than ``num_values``.
        frames_per_second: of the encoder.
    """
    health = codebook_health(frames.values(), num_values, frames_per_second)
    if units is not None:
        health = msgspec.structs.replace(health, clusters=units, dead=health.dead + units - num_values)
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
    """Scores of a quantizer and, if stacked, of each of its codebooks; also returns the quantizer's units.

    Args:
        streams: one, or one per codebook.
        parts: the units of each stream.
        system: the quantizer.
        explained: see `SystemScore`.
        labels: of the frames, for some or all recordings.
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
    """Combine units of several codebooks by numbering the occurring combinations; also returns their number.

    A single codebook is returned unchanged, with None.
    """
    if len(parts) == 1:
        return parts[0], None
    names = list(parts[0])
    whole = np.zeros(sum(len(parts[0][name]) for name in names), np.int64)
    used = 0
    for part in parts:
        # Renumbering after each codebook avoids overflow of the product.
        distinct, whole = np.unique(
            whole * clusters + np.concatenate([part[name] for name in names]), return_inverse=True
        )
        used = len(distinct)
    ends = np.cumsum([len(parts[0][name]) for name in names])[:-1]
    return dict(zip(names, np.split(whole, ends), strict=True)), used


class Variance:
    """Running sums for the variance of frames and their reconstruction error."""

    def __init__(self) -> None:
        self.frames = 0
        self.sum: Any = 0.0
        self.squares = self.residual = 0.0

    def add(self, rows: NDArray[np.float32], reconstructed: NDArray[np.float32]) -> None:
        """Add frames (T, D) and their reconstructions (T, D)."""
        self.frames += len(rows)
        self.sum = self.sum + rows.sum(axis=0, dtype=np.float64)
        self.squares += float(np.square(rows, dtype=np.float64).sum())
        self.residual += float(np.square(rows - reconstructed, dtype=np.float64).sum())

    def explained(self) -> float:
        """Explained variance, 1 - residual / total; 0 without variance."""
        total = self.squares - float((self.sum**2).sum()) / max(self.frames, 1)
        return 1.0 - self.residual / total if total > 0 else 0.0


def explained_variance(quantizer: Any, batches: Iterable[NDArray[np.float32]]) -> float:
    """Explained share of the variance of all frames, in the space of the quantizer's centroids."""
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
    """Point of the compression curve at a vocabulary of ``size`` tokens, without n-gram scores.

    Args:
        bpe: learned on training units.
        size: vocabulary size.
        units: of the test recordings.
        tokens: encoding of these units by ``bpe`` truncated to ``size``.
        frames_per_second: of the encoder.
    """
    all_tokens = np.concatenate([np.asarray(row.units, np.int64) for row in tokens])
    rate = len(all_tokens) / (sum(sum(row.durations) for row in units) / frames_per_second)
    return CurvePoint(
        tokens=size,
        train=round(bpe.lengths[0] / bpe.lengths[size - bpe.base], 4),
        test=round(sum(len(row.units) for row in units) / len(all_tokens), 4),
        per_second=round(rate, 3),
        bits_per_second=round(rate * entropy_bits(np.bincount(all_tokens)), 2),
    )
