"""Settings of the six stages."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from speechkit.pipeline import NEUTRAL, SHARED
from speechkit.units.kmeans import KMeansConfig

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Layers = Annotated[tuple[Count, ...], SHARED, msgspec.Meta(min_length=1)]
Clusters = Annotated[tuple[Positive, ...], SHARED, msgspec.Meta(min_length=1)]
Kind = Literal["k-means", "spherical", "residual", "product"]
Kinds = Annotated[tuple[Kind, ...], SHARED, msgspec.Meta(min_length=1)]


class PrepareConfig(msgspec.Struct, frozen=True):
    """Which recordings teach and which judge.

    Attributes:
        train_manifest: recordings; nothing is needed but the sound.
        test_manifest: recordings of other speakers; it may be the same file when ``test_speakers`` are named.
        test_speakers: with commas between them, to judge by only these of ``test_manifest``; all when empty.
        max_train_seconds: most speech to learn from, drawn.
        min_seconds: shorter recordings are dropped.
        max_seconds: longer ones too.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    test_speakers: str = ""
    max_train_seconds: float = 36_000.0
    min_seconds: float = 0.5
    max_seconds: float = 35.0


class FeaturesConfig(msgspec.Struct, frozen=True):
    """The encoder, by name, its layers, and the format in which frames are kept."""

    train_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    encoder: Annotated[str, SHARED] = "embedded"
    layers: Layers = (3,)
    dtype: Literal["float16", "float32"] = "float16"
    compute: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_size: Annotated[Positive, NEUTRAL] = 8


class CodebooksConfig(msgspec.Struct, frozen=True):
    """The codebooks of every layer, kind and K.

    Attributes:
        kinds: ``k-means`` as ``kmeans`` says, ``spherical`` on frames of length one, ``residual`` and ``product`` with
            ``codebooks`` codebooks of K units each.
        clusters: K, one by one.
        codebooks: of a residual or product quantizer.
        kmeans: everything else; ``clusters`` in it is not looked at.
    """

    layers: Layers = (3,)
    clusters: Clusters = (50, 100, 200, 500)
    kinds: Kinds = ("k-means",)
    codebooks: Annotated[Positive, SHARED] = 2
    kmeans: KMeansConfig = KMeansConfig()


class AssignConfig(msgspec.Struct, frozen=True):
    """Which codebooks name frames."""

    layers: Layers = (3,)
    clusters: Clusters = (50, 100, 200, 500)
    kinds: Kinds = ("k-means",)


class BpeConfig(msgspec.Struct, frozen=True):
    """Which units are shortened.

    Attributes:
        bpe_clusters: K of the codebooks; all when empty.
        sizes: numbers of tokens at which the curve is measured; the last one is how many are learnt.
        ngram_order: n-grams of order 1 to this are taught by the training units, and by their tokens at each size, and
            measured on those of the test; none with 0.
    """

    layers: Layers = (3,)
    clusters: Clusters = (50, 100, 200, 500)
    kinds: Kinds = ("k-means",)
    codebooks: Annotated[Positive, SHARED] = 2
    bpe_clusters: tuple[Positive, ...] = ()
    sizes: tuple[Positive, ...] = (250, 500, 1000, 2000)
    ngram_order: Annotated[int, msgspec.Meta(ge=0, le=6)] = 3


class ScoreConfig(msgspec.Struct, frozen=True):
    """How units are judged.

    Attributes:
        test_manifest: for the sound of the pictures.
        phones_manifest: alignments of the test recordings by their ids, as `recipes/sylber` makes them; without it the
            alignments of the test manifest itself are taken, where it has them.
        tier: of the alignments, to compare units with: ``phone``, ``char``, ``syllable`` …
        pictures: test recordings to draw.
        picture_clusters: K of the units that are drawn and of the curve; the smallest when it is not there.
    """

    layers: Layers = (3,)
    clusters: Clusters = (50, 100, 200, 500)
    kinds: Kinds = ("k-means",)
    codebooks: Annotated[Positive, SHARED] = 2
    test_manifest: Annotated[str | None, SHARED] = None
    phones_manifest: Annotated[str | None, SHARED] = None
    tier: str = "phone"
    pictures: Count = 3
    picture_clusters: int = 100
