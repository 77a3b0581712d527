"""Results of the comparison of invariant quantizers with plain k-means."""

from __future__ import annotations

from pathlib import Path

import msgspec

from speechkit.encoders.probing.abx import AbxDifference, AbxScore
from speechkit.encoders.probing.phone_abx import PhoneAbx
from speechkit.io.atomic import write_json
from speechkit.units.ued import UedReduction, UedTable

BASELINE = "k-means"
INVARIANT = "invariant"
PLAN = "plan.json"


class Plan(msgspec.Struct, frozen=True):
    """Which codebooks were made, for later stages.

    Attributes:
        layer: of the encoder.
        clusters: numbers of units K.
        baselines: number of plain codebooks of each K, the baselines of the comparison.
    """

    layer: int
    clusters: tuple[int, ...]
    baselines: int

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """That which `write` left in a folder."""
        return msgspec.json.decode((folder / PLAN).read_bytes(), type=Plan)

    def write(self, folder: Path) -> None:
        """Write `plan.json`."""
        write_json(folder / PLAN, self)

    @property
    def baseline_names(self) -> list[str]:
        """Names of the plain codebooks, that of the first seed first."""
        return [BASELINE, *(f"{BASELINE}-{number}" for number in range(2, self.baselines + 1))]


def size_folder(clusters: int) -> str:
    """Name of the folder of what has so many units."""
    return f"k-{clusters}"


class UnitStatistics(msgspec.Struct, frozen=True):
    """Statistics of deduplicated units of clean speech; ``unused`` is the number of units that never occur."""

    units_per_second: float
    perplexity: float
    bits_per_second: float
    unused: int


class SystemResult(msgspec.Struct, frozen=True):
    """Results of one quantizer.

    Attributes:
        ued: unit edit distances.
        statistics: of units.
        abx: of words on one-hot frames, within and across speakers.
        abx_dense: of words on centroids (codebooks) or roots of posteriors (invariant quantizers).
        abx_phones: of phones on one-hot frames.
    """

    ued: UedTable
    statistics: UnitStatistics
    abx: dict[str, AbxScore]
    abx_dense: dict[str, AbxScore]
    abx_phones: dict[str, PhoneAbx]


class Comparison(msgspec.Struct, frozen=True):
    """Quantizers of one K compared with plain k-means.

    Attributes:
        clusters: K.
        systems: the quantizers, k-means first.
        reductions: by system and perturbation, relative reduction of the UED of k-means (all seeds together);
            perturbations under which the units of k-means do not change are absent.
        abx_differences: by system, ABX error less the mean of k-means: ``within``, ``dense within``, ``phones within``
            and so on.
    """

    clusters: int
    systems: dict[str, SystemResult]
    reductions: dict[str, dict[str, UedReduction]]
    abx_differences: dict[str, dict[str, AbxDifference]]


class InvariantReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """Contents of `scores.json`.

    Attributes:
        encoder: name of the model.
        layer: of the k-means codebooks.
        utterances: number of test recordings.
        seconds: of all of them.
        speakers: number of those who are named.
        word_tokens: number of words that ABX compares.
        phone_tokens: number of phones.
        comparisons: one for each K.
        unnamed: number of utterances that name no speaker.
        without_phones: why there is no ABX of phones; empty if there is.
    """

    encoder: str
    layer: int
    utterances: int
    seconds: float
    speakers: int
    word_tokens: int
    phone_tokens: int
    comparisons: list[Comparison]
    unnamed: int = 0
    without_phones: str = ""


def is_baseline(system: str) -> bool:
    """Whether a system is plain k-means."""
    return system.startswith(BASELINE)


def in_order(comparison: Comparison) -> list[tuple[str, SystemResult]]:
    """The quantizers by name, the baselines first."""
    return sorted(comparison.systems.items(), key=lambda each: (not is_baseline(each[0]), each[0]))
