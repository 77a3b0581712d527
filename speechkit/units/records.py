"""What is measured of quantizers: their use, what they tell of labels, and how much shorter acoustic BPE makes them."""

from __future__ import annotations

import msgspec

from speechkit.units.health import CodebookHealth, LabelAgreement


class System(msgspec.Struct, frozen=True):
    """A quantizer, and what of it a row is about: one of its codebooks, or all together."""

    layer: int
    kind: str
    clusters: int
    codebook: int | None = None

    @property
    def folder(self) -> str:
        """Inside the stages' folders."""
        whole = f"layer-{self.layer}/{self.kind}-{self.clusters}"
        return whole if self.codebook is None else f"{whole}/codebook-{self.codebook}"

    @property
    def name(self) -> str:
        """For people."""
        which = "" if self.codebook is None else f", codebook {self.codebook + 1}"
        return f"layer {self.layer}, {self.kind} {self.clusters}{which}"


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
    """How much shorter the units of a codebook get."""

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
