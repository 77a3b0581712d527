"""Results of the comparison of invariant quantizers with plain k-means."""

from __future__ import annotations

from pathlib import Path

import msgspec

from speechkit.encoders.probing.abx import AbxDifference, AbxScore
from speechkit.io.atomic import write_json
from speechkit.units.smoothed import Smoothing
from speechkit.units.ued import UedReduction, UedTable

BASELINE = "k-means"
PLAN = "plan.json"


class Plan(msgspec.Struct, frozen=True):
    """The codebooks that were made, for the stages behind.

    Attributes:
        layers: that they are of.
        clusters: K.
        baselines: how many plain codebooks of each K are compared with.
        teachers: the codebooks that teach, by name.
    """

    layers: tuple[int, ...]
    clusters: tuple[int, ...]
    baselines: int
    teachers: dict[str, Smoothing]

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """That which `write` left in a folder."""
        return msgspec.json.decode((folder / PLAN).read_bytes(), type=Plan)

    def write(self, folder: Path) -> None:
        """Write `plan.json`."""
        write_json(folder / PLAN, self)

    @property
    def baseline_names(self) -> list[str]:
        """Of the plain codebooks, that of the first seed first."""
        return [BASELINE, *(f"{BASELINE}-{number}" for number in range(2, self.baselines + 1))]

    def folders(self, layer: int) -> list[str]:
        """Inside the stages' folders, for each K and teacher of a layer."""
        return [system_folder(layer, clusters, name) for clusters in self.clusters for name in self.teachers]


def system_folder(layer: int, clusters: int, name: str) -> str:
    """The folder inside its stage of a baseline, or of what has to do with a teacher."""
    return f"layer-{layer}/k-{clusters}/{name}"


class UnitStatistics(msgspec.Struct, frozen=True):
    """Of deduplicated units of clean speech: how many a second, perplexity of one, bits a second, units never used."""

    units_per_second: float
    perplexity: float
    bits_per_second: float
    unused: int


class SystemResult(msgspec.Struct, frozen=True):
    """One quantizer. ABX is on one-hot frames; ``dense`` on centroids (codebooks) or posteriors (invariant)."""

    ued: UedTable
    statistics: UnitStatistics
    abx: dict[str, AbxScore]
    abx_dense: dict[str, AbxScore]


class Comparison(msgspec.Struct, frozen=True):
    """The quantizers of a layer and K beside plain k-means.

    Attributes:
        layer: that the codebooks were made of.
        clusters: K.
        systems: the quantizers, those of k-means first.
        reductions: by how much the UED of the others lies below that of k-means, all its seeds together, by change;
            changes under which the units of k-means stay are not there.
        abx_differences: by how much its ABX error lies above their mean, by way; of dense frames under ``dense within``
            and so on.
    """

    layer: int
    clusters: int
    systems: dict[str, SystemResult]
    reductions: dict[str, dict[str, UedReduction]]
    abx_differences: dict[str, dict[str, AbxDifference]]


class InvariantReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `scores.json` holds; ``unnamed`` utterances name no speaker."""

    encoder: str
    utterances: int
    seconds: float
    speakers: int
    word_tokens: int
    comparisons: list[Comparison]
    unnamed: int = 0


def is_baseline(system: str) -> bool:
    """Whether it is plain k-means; names of all others say by which teacher they are."""
    return ", " not in system


def in_order(comparison: Comparison) -> list[tuple[str, SystemResult]]:
    """The quantizers: the baselines first, then teacher by teacher what teaches and what has learnt."""

    def position(system: str) -> tuple[bool, str, bool]:
        teacher = "" if is_baseline(system) else system.rpartition(", ")[2]
        return not is_baseline(system), teacher, not system.startswith(BASELINE)

    return sorted(comparison.systems.items(), key=lambda each: position(each[0]))
