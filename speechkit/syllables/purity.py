"""Agreement of segment units with syllables: syllable purity, cluster purity, mutual information.

Segments are paired with the reference's syllables first: ``hungarian``, one to one by intersection over union
(SD-HuBERT, Sylber), or ``overlap``, each segment with the syllable that it shares most time with (ZeroSyl).
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


class Labelled(msgspec.Struct, frozen=True):
    """One recording: segments (n, 2) in seconds and a label each, of the reference and of the system."""

    reference: ArrayLike
    syllables: Sequence[str]
    predicted: ArrayLike
    units: Sequence[Hashable]


class Purity(msgspec.Struct, frozen=True):
    """Scores from 0 to 1 over paired segments.

    Attributes:
        pairing: by name.
        syllable_purity: share of segments whose unit's most frequent syllable they are.
        cluster_purity: share of segments whose syllable's most frequent unit they have.
        mutual_information: of syllable and unit, in bits.
        normalized_mutual_information: the same by the entropy of the syllables.
        pairs: how many segments were paired.
        syllables: kinds of them.
        units: kinds of them.
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
    """A syllable's phones without their stress digits: "AE1 P" as "AE P"."""
    return " ".join(phone.rstrip("012") or phone for phone in symbol.split())


def paired_labels(item: Labelled, pairing: Pairing, where: str) -> list[tuple[str, Hashable]]:
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
                f"{where}, {side}: {len(segments)} segments of some duration have {len(labels)} labels; give one each"
            )
        sides.append(segments)
    match = overlap_matching if pairing == "hungarian" else largest_overlap
    return [(without_stress(item.syllables[i]), item.units[j]) for i, j in match(*sides)]


def purity(
    items: Sequence[Labelled],
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
        groups: the speaker of each recording; whole groups are drawn for the intervals when given.
        names: of the recordings, for errors.
        resamples: bootstrap draws for 95 % intervals; 0: none.
        seed: of the draws.

    Raises:
        UserError: if no segment could be paired, or labels are missing.
    """
    syllables: dict[Hashable, int] = {}
    units: dict[Hashable, int] = {}
    owners: dict[Hashable, int] = {}
    rows: list[tuple[int, int, int]] = []
    for place, item in enumerate(items):
        owner = owners.setdefault(place if groups is None else groups[place], len(owners))
        for syllable, unit in paired_labels(item, pairing, names[place] if names else f"recording {place}"):
            number = syllables.setdefault(syllable, len(syllables)), units.setdefault(unit, len(units))
            rows.append((owner, *number))
    if not rows:
        raise UserError("no segment overlaps a syllable of the reference; are both of the same recordings?")
    table = np.array(rows, np.int64)
    # Only pairs of kinds that occur are counted: thousands of syllables by thousands of units are mostly zeros.
    kinds, kind = np.unique(table[:, 1] * len(units) + table[:, 2], return_inverse=True)
    places = np.stack(np.divmod(kinds, len(units)), axis=1)
    values = _scores(np.bincount(kind, minlength=len(kinds)).astype(np.float64), places)
    intervals: list[Interval | None] = [None] * 4
    if resamples:
        random = np.random.default_rng(seed)
        draws = np.empty((resamples, 4))
        for draw in range(resamples):
            times = random.multinomial(len(owners), np.full(len(owners), 1 / len(owners)))
            draws[draw] = _scores(np.bincount(kind, times[table[:, 0]], len(kinds)).astype(np.float64), places)
        intervals = [percentile_interval(draws[:, column], 0.95, len(owners)) for column in range(4)]
    found = [Score(float(value), interval) for value, interval in zip(values, intervals, strict=True)]
    return Purity(pairing, found[0], found[1], found[2], found[3], len(rows), len(syllables), len(units))


def _scores(counts: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Syllable purity, cluster purity, mutual information and its share, from counts (k,) at places (k, 2)."""
    total = counts.sum()
    if not total:
        return np.zeros(4)
    best_of, sums = [], []
    for side in (0, 1):
        most = np.zeros(places[:, side].max() + 1)
        np.maximum.at(most, places[:, side], counts)
        best_of.append(most.sum() / total)
        sums.append(np.bincount(places[:, side], counts))
    there = counts > 0
    joint = counts[there] / total
    alone = sums[0][places[there, 0]] * sums[1][places[there, 1]] / total**2
    information = float((joint * np.log2(joint / alone)).sum())
    shares = sums[0][sums[0] > 0] / total
    entropy = float(-(shares * np.log2(shares)).sum())
    return np.array([best_of[1], best_of[0], information, information / entropy if entropy > 0 else 0.0])
