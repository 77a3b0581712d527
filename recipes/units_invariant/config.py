"""Settings of the six stages."""

from __future__ import annotations

from typing import Annotated

import msgspec

from speechkit.encoders.probing.word_tokens import WordConfig
from speechkit.pipeline import NEUTRAL, SHARED
from speechkit.units.invariant_training import InvariantConfig
from speechkit.units.kmeans import KMeansConfig
from speechkit.units.perturbations import AUDIBLE, KINDS, Perturbation, PerturbationConfig
from speechkit.units.smoothed import Smoothing


class PrepareConfig(msgspec.Struct, frozen=True):
    """Which recordings teach and which judge.

    Attributes:
        train_manifest: recordings; nothing is needed but the sound.
        test_manifest: recordings of other speakers; texts are needed for ABX, speakers for intervals over them.
        test_speakers: with commas between them, to judge by only these of ``test_manifest``; all when empty.
        normalizer: of the test texts.
        max_train_seconds: most speech to learn from, drawn.
        min_seconds: shorter recordings are dropped.
        max_seconds: longer ones too.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    test_speakers: str = ""
    normalizer: str = "simple"
    max_train_seconds: float = 3600.0
    min_seconds: float = 1.0
    max_seconds: float = 20.0


class WordsConfig(msgspec.Struct, frozen=True):
    """Which CTC recogniser says when each word of the test texts was spoken."""

    test_manifest: Annotated[str | None, SHARED] = None
    recognizer: str = "embedded"
    lang: Annotated[str, SHARED] = "en"
    normalizer: str = "simple"
    batch_size: Annotated[int, NEUTRAL] = 8


class FeaturesConfig(msgspec.Struct, frozen=True):
    """The encoder, its layers, and what is done to the recordings.

    Attributes:
        encoder: by name.
        layers: whose features are kept and compared.
        train_kinds: changes to learn from.
        versions: drawings of each kind for every training recording.
        test_kinds: changes to judge by.
        strength: of the changes.
        noises: folder of noises for training; made noise without it.
        test_noises: folder of noises for judging.
        dtype: of the stored features.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    encoder: Annotated[str, SHARED] = "embedded"
    layers: Annotated[tuple[int, ...], SHARED] = (3,)
    train_kinds: tuple[Perturbation, ...] = AUDIBLE
    versions: Annotated[int, msgspec.Meta(ge=1)] = 1
    test_kinds: Annotated[tuple[Perturbation, ...], SHARED] = KINDS
    strength: PerturbationConfig = PerturbationConfig()
    noises: str | None = None
    test_noises: str | None = None
    dtype: str = "float16"


class CodebooksConfig(msgspec.Struct, frozen=True):
    """The k-means codebooks to be compared with, and those that teach.

    Attributes:
        kmeans: ``kmeans.clusters`` is taken from ``clusters`` one by one.
        smoothing: of the codebooks that teach, which are made of frames averaged alike.
    """

    layers: Annotated[tuple[int, ...], SHARED] = (3,)
    clusters: Annotated[tuple[int, ...], SHARED] = (50, 100, 200, 500)
    kmeans: KMeansConfig = KMeansConfig()
    smoothing: Smoothing = Smoothing()


class TrainConfig(msgspec.Struct, frozen=True):
    """The heads; those of one layer are trained together.

    Attributes:
        begin_layer: the layer whose features the heads take, if it is not the teacher's own: the heads then begin with
            copies of the encoder's ``upper_layers`` layers behind it and train them along. ``features.layers`` must
            name it too.
        upper_layers: how many.
        upper_dropout: in the copies, while training.
        invariant: the training.
    """

    layers: Annotated[tuple[int, ...], SHARED] = (3,)
    clusters: Annotated[tuple[int, ...], SHARED] = (50, 100, 200, 500)
    encoder: Annotated[str, SHARED] = "embedded"
    begin_layer: int | None = None
    upper_layers: int = 2
    upper_dropout: float = 0.1
    invariant: InvariantConfig = InvariantConfig()


class EvaluateConfig(msgspec.Struct, frozen=True):
    """How units are judged.

    Attributes:
        test_kinds: changes to judge by.
        words: which test words are discriminated by ABX.
        pictures: test recordings to draw.
        picture_kind: the change whose ribbons are drawn beside the clean ones.
        picture_clusters: K of the quantizers that are drawn; the smallest when it is not there.
    """

    layers: Annotated[tuple[int, ...], SHARED] = (3,)
    clusters: Annotated[tuple[int, ...], SHARED] = (50, 100, 200, 500)
    test_manifest: Annotated[str | None, SHARED] = None
    test_kinds: Annotated[tuple[Perturbation, ...], SHARED] = KINDS
    words: WordConfig = WordConfig()
    pictures: int = 3
    picture_kind: Perturbation = "pitch"
    picture_clusters: int = 100
