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
TURNS = (0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9)
"""Shares of the speech by which labels are rotated in time, which preserves the runs of units and labels."""


class CodebookHealth(msgspec.Struct, frozen=True):
    """Usage statistics of units.

    Attributes:
        clusters: number of units K.
        frames: of the speech.
        perplexity: 2 to the power of the unit entropy; K if all units are equally frequent.
        dead: number of unused units.
        top_share: share of frames assigned to the most frequent unit, 0 to 1.
        runs: number of units after deduplication.
        mean_run: mean frames per run.
        units_per_second: after deduplication.
        bits_per_second: of deduplicated units, by the entropy of their frequencies.
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
        frames: that have a label.
        mutual_information: of unit and label, bits.
        normalized_information: mutual information over the entropy of the labels, 0 to 1.
        label_purity: share of frames whose label is the most frequent one of their unit.
        unit_purity: share of frames whose unit is the most frequent one of their label.
        chance_information: chance level: mean normalised information when the labels are rotated in time against the
        units by the shares `TURNS`. It is above 0 for many units and little speech.

    Source: Hsu et al. 2021 (HuBERT), section IV-D: phone purity, cluster purity, phone-normalised mutual information.
    """

    frames: int
    mutual_information: float
    normalized_information: float
    label_purity: float
    unit_purity: float
    chance_information: float


def codebook_health(items: Iterable[Units], clusters: int, frames_per_second: float = 50.0) -> CodebookHealth:
    """Statistics of the units of all frames of every item.

    Args:
        items: units of all frames (T,) of each recording, 0 to ``clusters - 1``.
        clusters: K.
        frames_per_second: of the encoder.

    Raises:
        UserError: if there is no frame, or a unit is out of range.
    """
    counts = np.zeros(clusters, np.int64)
    in_runs = np.zeros(clusters, np.int64)
    for units in items:
        if len(units) and (int(units.min()) < 0 or int(units.max()) >= clusters):
            raise UserError(
                f"a unit is {int(units.max())}, the codebook has {clusters}; take the units of this codebook"
            )
        counts += np.bincount(units, minlength=clusters)
        in_runs += np.bincount(deduplicate(units)[0], minlength=clusters)
    frames, runs = int(counts.sum()), int(in_runs.sum())
    if not frames:
        raise UserError("there are no units to judge; give at least one recording with a frame")
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
    """Agreement of units with labels; frames whose label is None are left out.

    Args:
        units: of all frames (T,) of each recording.
        labels: of the same frames.

    Raises:
        UserError: if a recording has another number of labels than units, or no frame has a label.
    """
    told: list[int] = []
    named: list[str] = []
    for number, (mine, theirs) in enumerate(zip(units, labels, strict=True)):
        if len(mine) != len(theirs):
            raise UserError(
                f"recording {number} has {len(mine)} units and {len(theirs)} labels; give one label a frame"
            )
        for unit, label in zip(mine.tolist(), theirs, strict=True):
            if label is not None:
                told.append(unit)
                named.append(label)
    if not told:
        raise UserError("no frame has a label; give an alignment of these recordings")
    rows, columns = (np.unique(np.asarray(each), return_inverse=True)[1] for each in (told, named))
    table = _joint(rows, columns)
    of_labels = entropy_bits(table.sum(0))
    information = _information(table)
    turned = [_information(_joint(rows, np.roll(columns, round(share * len(columns))))) for share in TURNS]
    return LabelAgreement(
        frames=len(told),
        mutual_information=information,
        normalized_information=information / of_labels if of_labels > 0 else 0.0,
        label_purity=float(table.max(1).sum() / len(told)),
        unit_purity=float(table.max(0).sum() / len(told)),
        chance_information=float(np.mean(turned)) / of_labels if of_labels > 0 else 0.0,
    )


def _joint(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.int64]:
    """Joint count table."""
    shape = int(rows.max()) + 1, int(columns.max()) + 1
    return np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)


def _information(table: NDArray[np.int64]) -> float:
    """Mutual information in bits."""
    return max(0.0, entropy_bits(table.sum(1)) + entropy_bits(table.sum(0)) - entropy_bits(table.ravel()))


def entropy_bits(counts: NDArray[np.integer[Any]]) -> float:
    """Entropy of frequencies in bits; 0 for none."""
    total = counts.sum()
    if not total:
        return 0.0
    share = counts[counts > 0] / total
    return float(-(share * np.log2(share)).sum())
