"""Agreement of segment units with syllables: syllable purity, cluster purity and mutual information.

Segments are first paired with reference syllables: ``hungarian``, one to one by intersection over union (SD-HuBERT,
Sylber), or ``overlap``, each segment with the syllable of the largest overlap (ZeroSyl).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechkit.errors import ConfigError, UserError
from speechkit.metrics.bootstrap import Interval, percentile_interval
from speechkit.syllables.evaluation import Score, segment_times
from speechkit.syllables.matching import largest_overlap, overlap_matching

Pairing = Literal["hungarian", "overlap"]
PAIRINGS: tuple[Pairing, ...] = ("hungarian", "overlap")


class LabelledSegments(msgspec.Struct, frozen=True):
    """Reference and predicted segments of a recording, (n, 2) in seconds, with their syllables and units."""

    reference: ArrayLike
    syllables: Sequence[str]
    predicted: ArrayLike
    units: Sequence[Hashable]


class Purity(msgspec.Struct, frozen=True):
    """Scores from 0 to 1 over paired segments.

    Attributes:
        pairing: name of the pairing.
        syllable_purity: share of segments with the most frequent syllable of their unit.
        cluster_purity: share of segments with the most frequent unit of their syllable.
        mutual_information: of syllable and unit, in bits.
        normalized_mutual_information: mutual information over the entropy of the syllables.
        pairs: number of paired segments.
        syllables: number of distinct syllables.
        units: number of distinct units.
    """

    pairing: str
    syllable_purity: Score
    cluster_purity: Score
    mutual_information: Score
    normalized_mutual_information: Score
    pairs: int
    syllables: int
    units: int


def without_stress(symbol: str) -> str:
    """A syllable's phones without stress digits: "AE1 P" to "AE P"."""
    return " ".join(phone.rstrip("012") or phone for phone in symbol.split())


def paired_labels(item: LabelledSegments, pairing: Pairing, where: str) -> list[tuple[str, Hashable]]:
    """The syllable and the unit of each paired segment of a recording."""
    if pairing not in PAIRINGS:
        raise ConfigError(f"pairing is {pairing!r}; choose {', '.join(PAIRINGS)}")
    sides = []
    for times, labels, side in (
        (item.reference, item.syllables, "reference"),
        (item.predicted, item.units, "hypothesis"),
    ):
        segments = segment_times(times, f"{where}, {side}")
        if len(segments) != len(labels):
            raise UserError(
                f"{where}, {side}: {len(segments)} non-empty segments but {len(labels)} labels; give as many"
            )
        sides.append(segments)
    match = overlap_matching if pairing == "hungarian" else largest_overlap
    return [(without_stress(item.syllables[i]), item.units[j]) for i, j in match(*sides)]


def purity(
    items: Sequence[LabelledSegments],
    pairing: Pairing = "hungarian",
    *,
    groups: Sequence[Hashable] | None = None,
    names: Sequence[str] | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> Purity:
    """Purities and mutual information over recordings.

    Args:
        items: the recordings.
        pairing: ``hungarian`` or ``overlap``.
        groups: speaker of each recording; resampled whole for the intervals.
        names: of the recordings, for errors.
        resamples: bootstrap draws for 95 % intervals; 0: no intervals.
        seed: of the bootstrap.

    Raises:
        UserError: if no segment can be paired, or labels are missing.
    """
    syllables: dict[Hashable, int] = {}
    units: dict[Hashable, int] = {}
    owners: dict[Hashable, int] = {}
    rows: list[tuple[int, int, int]] = []
    for index, item in enumerate(items):
        owner = owners.setdefault(index if groups is None else groups[index], len(owners))
        for syllable, unit in paired_labels(item, pairing, names[index] if names else f"recording {index}"):
            number = syllables.setdefault(syllable, len(syllables)), units.setdefault(unit, len(units))
            rows.append((owner, *number))
    if not rows:
        raise UserError("no segment overlaps a reference syllable; give segments of the same recordings")
    table = np.array(rows, np.int64)
    # Only pairs that occur are counted: the table of syllables by units is sparse.
    keys, key_of_row = np.unique(table[:, 1] * len(units) + table[:, 2], return_inverse=True)
    cells = np.stack(np.divmod(keys, len(units)), axis=1)
    values = _scores(np.bincount(key_of_row, minlength=len(keys)).astype(np.float64), cells)
    intervals: list[Interval | None] = [None] * 4
    if resamples:
        random = np.random.default_rng(seed)
        draws = np.empty((resamples, 4))
        for draw in range(resamples):
            times = random.multinomial(len(owners), np.full(len(owners), 1 / len(owners)))
            draws[draw] = _scores(np.bincount(key_of_row, times[table[:, 0]], len(keys)).astype(np.float64), cells)
        intervals = [percentile_interval(draws[:, column], 0.95, len(owners)) for column in range(4)]
    scores = [Score(float(value), interval) for value, interval in zip(values, intervals, strict=True)]
    return Purity(pairing, scores[0], scores[1], scores[2], scores[3], len(rows), len(syllables), len(units))


def _scores(counts: NDArray[np.float64], cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Syllable purity, cluster purity, mutual information, also normalised, from counts (k,) at cells (k, 2)."""
    total = counts.sum()
    if not total:
        return np.zeros(4)
    purities, sums = [], []
    for side in (0, 1):
        most = np.zeros(cells[:, side].max() + 1)
        np.maximum.at(most, cells[:, side], counts)
        purities.append(most.sum() / total)
        sums.append(np.bincount(cells[:, side], counts))
    nonzero = counts > 0
    joint = counts[nonzero] / total
    alone = sums[0][cells[nonzero, 0]] * sums[1][cells[nonzero, 1]] / total**2
    information = float((joint * np.log2(joint / alone)).sum())
    shares = sums[0][sums[0] > 0] / total
    entropy = float(-(shares * np.log2(shares)).sum())
    return np.array([purities[1], purities[0], information, information / entropy if entropy > 0 else 0.0])
