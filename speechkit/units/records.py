"""Result records of quantizer evaluation: usage, agreement with labels, and compression by acoustic BPE."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from speechkit.io.atomic import write_json
from speechkit.units.health import CodebookHealth, LabelAgreement

Kind = Literal["k-means", "spherical", "residual", "product"]
STACKED = ("residual", "product")
SYSTEMS = "systems.json"


class System(msgspec.Struct, frozen=True):
    """Table row: a quantizer, or one of its codebooks."""

    layer: int
    kind: Kind
    clusters: int
    codebook: int | None = None

    @property
    def folder(self) -> str:
        """Path relative to a stage's folder."""
        whole = f"layer-{self.layer}/{self.kind}-{self.clusters}"
        return whole if self.codebook is None else f"{whole}/codebook-{self.codebook}"

    @property
    def name(self) -> str:
        """Display name."""
        codebook = "" if self.codebook is None else f", codebook {self.codebook + 1}"
        return f"layer {self.layer}, {self.kind} {self.clusters}{codebook}"


class Systems(msgspec.Struct, frozen=True):
    """The trained quantizers, the number of codebooks of stacked ones, and the frame rate."""

    quantizers: list[System]
    codebooks: int
    frames_per_second: float = 50.0

    @classmethod
    def of(
        cls,
        layers: Sequence[int],
        kinds: Sequence[Kind],
        clusters: Sequence[int],
        codebooks: int,
        frames_per_second: float = 50.0,
    ) -> Systems:
        """One quantizer for every layer, kind and K, without duplicates."""
        combinations = itertools.product(dict.fromkeys(layers), dict.fromkeys(kinds), dict.fromkeys(clusters))
        return cls([System(layer, kind, size) for layer, kind, size in combinations], codebooks, frames_per_second)

    @classmethod
    def read(cls, folder: Path) -> Systems:
        """Read the `systems.json` of an earlier stage."""
        return msgspec.json.decode((folder / SYSTEMS).read_bytes(), type=Systems)

    def write(self, folder: Path) -> None:
        """Write `systems.json` for later stages."""
        write_json(folder / SYSTEMS, self)

    def streams(self, system: System) -> list[System]:
        """Unit streams of a quantizer: one, or one per codebook."""
        if system.kind not in STACKED:
            return [system]
        return [msgspec.structs.replace(system, codebook=index) for index in range(self.codebooks)]


class Fit(msgspec.Struct, frozen=True):
    """Explained share of the variance of the test frames, 0 to 1, in the space of the quantizer's centroids."""

    system: System
    explained: float


class CurvePoint(msgspec.Struct, frozen=True):
    """Compression at a vocabulary of ``tokens``.

    ``train`` and ``test`` are units per token on training and test speech; the rates are of test speech. Bits are the
    unigram entropy of tokens, underestimated with many tokens and little speech. ``ngram_bits`` are cross-entropies of
    the test units (not tokens) under n-grams of order 1 and up, trained on the training units.
    """

    tokens: int
    train: float
    test: float
    per_second: float
    bits_per_second: float
    ngram_bits: tuple[float, ...] = ()


class BpeCurve(msgspec.Struct, frozen=True):
    """Compression of the units of a codebook by acoustic BPE."""

    system: System
    points: list[CurvePoint]


class SystemScore(msgspec.Struct, frozen=True):
    """Scores of a quantizer, or of one codebook of a stacked one.

    Attributes:
        system: the quantizer; without a ``codebook``, units of a stacked one are combined over its codebooks.
        explained: explained share of the variance; None for a single codebook of a stacked quantizer.
        health: usage and rates of the units.
        agreement: with the labels; None without an alignment.
    """

    system: System
    explained: float | None
    health: CodebookHealth
    agreement: LabelAgreement | None


class UnitsReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """Content of `scores.json`; ``unnamed`` is the number of recordings without a speaker."""

    recordings: int
    seconds: float
    speakers: int
    tier: str | None
    scores: list[SystemScore]
    curves: list[BpeCurve]
    unnamed: int = 0
