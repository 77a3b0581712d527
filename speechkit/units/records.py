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
        """Inside the stages' folders."""
        whole = f"layer-{self.layer}/{self.kind}-{self.clusters}"
        return whole if self.codebook is None else f"{whole}/codebook-{self.codebook}"

    @property
    def name(self) -> str:
        """Display name."""
        which = "" if self.codebook is None else f", codebook {self.codebook + 1}"
        return f"layer {self.layer}, {self.kind} {self.clusters}{which}"


class Systems(msgspec.Struct, frozen=True):
    """The quantizers that were trained, the codebooks of a stacked one, and the frames that they name a second."""

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
        """One for every layer, kind and K; what is named twice is there once."""
        each = itertools.product(dict.fromkeys(layers), dict.fromkeys(kinds), dict.fromkeys(clusters))
        return cls([System(layer, kind, size) for layer, kind, size in each], codebooks, frames_per_second)

    @classmethod
    def read(cls, folder: Path) -> Systems:
        """Those that an earlier stage wrote into its folder."""
        return msgspec.json.decode((folder / SYSTEMS).read_bytes(), type=Systems)

    def write(self, folder: Path) -> None:
        """Write `systems.json` into the folder, for later stages."""
        write_json(folder / SYSTEMS, self)

    def streams(self, system: System) -> list[System]:
        """The sequences of units that a quantizer gives: one, or one for each codebook."""
        if system.kind not in STACKED:
            return [system]
        return [msgspec.structs.replace(system, codebook=index) for index in range(self.codebooks)]


class Fit(msgspec.Struct, frozen=True):
    """How much of the variance of the test frames a quantizer keeps, 0 to 1, in the space where it compares."""

    system: System
    explained: float


class CurvePoint(msgspec.Struct, frozen=True):
    """At so many tokens: units for each token in training and test speech, tokens and bits a second of test speech.

    Bits by the entropy of the tokens' frequencies; with many tokens and little speech it is too low. ``ngram_bits`` are
    those of n-grams of order 1 and on, which training speech taught, over the test units: of units, not of tokens.
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
    """One quantizer, or one codebook of a stacked one.

    Attributes:
        system: which; without a ``codebook`` the units are those of all its codebooks together.
        explained: share of the variance of the frames that it keeps; None for one codebook of several.
        health: use and rates of the units.
        agreement: with the labels; None without an alignment.
    """

    system: System
    explained: float | None
    health: CodebookHealth
    agreement: LabelAgreement | None


class UnitsReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `scores.json` holds; ``unnamed`` recordings name no speaker."""

    recordings: int
    seconds: float
    speakers: int
    tier: str | None
    scores: list[SystemScore]
    curves: list[BpeCurve]
    unnamed: int = 0
