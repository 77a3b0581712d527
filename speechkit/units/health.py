"""Codebook usage, and agreement of units with phones or any other frame labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.units.deduplication import deduplicate

Units = NDArray[np.integer[Any]]
ROTATIONS = (0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9)
"""Fractions of the speech by which labels are rotated in time, which preserves the runs of units and labels."""


class CodebookHealth(msgspec.Struct, frozen=True):
    """Usage statistics of units.

    Attributes:
        clusters: number of units K.
        frames: number of frames.
        perplexity: 2 to the power of the unit entropy; K if all units are equally frequent.
        dead: number of unused units.
        top_share: share of frames assigned to the most frequent unit, 0 to 1.
        runs: number of units after deduplication.
        mean_run: mean frames per run.
        units_per_second: after deduplication.
        bits_per_second: unigram entropy rate of deduplicated units.
    """

    clusters: int
    frames: int
    perplexity: float
    dead: int
    top_share: float
    runs: int
    mean_run: float
    units_per_second: float
    bits_per_second: float


class LabelAgreement(msgspec.Struct, frozen=True):
    """Agreement between units and labels of the same frames.

    Attributes:
        frames: number of labelled frames.
        mutual_information: of unit and label, in bits.
        normalized_information: mutual information over the entropy of the labels, 0 to 1.
        label_purity: share of frames with the most frequent label of their unit.
        unit_purity: share of frames with the most frequent unit of their label.
        chance_information: chance level: mean normalised information with labels rotated in time by `ROTATIONS`; above
            0 for many units and little speech.

    Source: Hsu et al. 2021 (HuBERT), section IV-D: phone purity, cluster purity, phone-normalised mutual information.
    """

    frames: int
    mutual_information: float
    normalized_information: float
    label_purity: float
    unit_purity: float
    chance_information: float


def codebook_health(items: Iterable[Units], clusters: int, frames_per_second: float = 50.0) -> CodebookHealth:
    """Usage statistics of frame-level units.

    Args:
        items: frame-level units (T,) of each recording, 0 to ``clusters - 1``.
        clusters: K.
        frames_per_second: of the encoder.

    Raises:
        UserError: if there are no frames, or a unit is out of range.
    """
    counts = np.zeros(clusters, np.int64)
    in_runs = np.zeros(clusters, np.int64)
    for units in items:
        if len(units) and (int(units.min()) < 0 or int(units.max()) >= clusters):
            raise UserError(
                f"unit {int(units.max())} is out of range for a codebook of {clusters}; give units of this codebook"
            )
        counts += np.bincount(units, minlength=clusters)
        in_runs += np.bincount(deduplicate(units)[0], minlength=clusters)
    frames, runs = int(counts.sum()), int(in_runs.sum())
    if not frames:
        raise UserError("there are no units; give at least one recording with a frame")
    seconds = frames / frames_per_second
    return CodebookHealth(
        clusters=clusters,
        frames=frames,
        perplexity=float(2.0 ** entropy_bits(counts)),
        dead=int((counts == 0).sum()),
        top_share=float(counts.max() / frames),
        runs=runs,
        mean_run=frames / runs,
        units_per_second=runs / seconds,
        bits_per_second=entropy_bits(in_runs) * runs / seconds,
    )


def label_agreement(units: Sequence[Units], labels: Sequence[Sequence[str | None]]) -> LabelAgreement:
    """Agreement of units with labels, without frames whose label is None.

    Args:
        units: frame-level units (T,) of each recording.
        labels: of the same frames.

    Raises:
        UserError: if the numbers of units and labels of a recording differ, or no frame has a label.
    """
    labelled_units: list[int] = []
    known_labels: list[str] = []
    for number, (item_units, item_labels) in enumerate(zip(units, labels, strict=True)):
        if len(item_units) != len(item_labels):
            raise UserError(
                f"recording {number}: {len(item_units)} units but {len(item_labels)} labels; give one label per frame"
            )
        for unit, label in zip(item_units.tolist(), item_labels, strict=True):
            if label is not None:
                labelled_units.append(unit)
                known_labels.append(label)
    if not labelled_units:
        raise UserError("no frame has a label; give an alignment of these recordings")
    rows = np.unique(np.asarray(labelled_units), return_inverse=True)[1]
    columns = np.unique(np.asarray(known_labels), return_inverse=True)[1]
    table = _joint(rows, columns)
    label_entropy = entropy_bits(table.sum(0))
    information = _information(table)
    rotated = [_information(_joint(rows, np.roll(columns, round(share * len(columns))))) for share in ROTATIONS]
    return LabelAgreement(
        frames=len(labelled_units),
        mutual_information=information,
        normalized_information=information / label_entropy if label_entropy > 0 else 0.0,
        label_purity=float(table.max(1).sum() / len(labelled_units)),
        unit_purity=float(table.max(0).sum() / len(labelled_units)),
        chance_information=float(np.mean(rotated)) / label_entropy if label_entropy > 0 else 0.0,
    )


def _joint(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.int64]:
    """Joint count table."""
    shape = int(rows.max()) + 1, int(columns.max()) + 1
    return np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)


def _information(table: NDArray[np.int64]) -> float:
    """Mutual information in bits."""
    return max(0.0, entropy_bits(table.sum(1)) + entropy_bits(table.sum(0)) - entropy_bits(table.ravel()))


def entropy_bits(counts: NDArray[np.integer[Any]]) -> float:
    """Entropy of a frequency distribution in bits; 0 without counts."""
    total = counts.sum()
    if not total:
        return 0.0
    share = counts[counts > 0] / total
    return float(-(share * np.log2(share)).sum())
