"""Settings of the six stages."""

from __future__ import annotations

from typing import Annotated

import msgspec

from speechkit.asr import stages as asr
from speechkit.augment.perturbations import KINDS, Perturbation, PerturbationConfig
from speechkit.encoders.probing.word_tokens import WordConfig
from speechkit.errors import ConfigError
from speechkit.pipeline import NEUTRAL, SHARED
from speechkit.units.invariant.config import InvariantConfig
from speechkit.units.kmeans import KMeansConfig
from speechkit.units.smoothed import Smoothing
from speechkit.units.stages import Clusters, Count, HeldOutConfig, Layers, Positive


class _Once(msgspec.Struct, frozen=True):
    """Settings whose lists name everything once, however often it is given."""

    def __post_init__(self) -> None:
        for name in ("layers", "clusters", "test_kinds"):
            if name in self.__struct_fields__:
                msgspec.structs.force_setattr(self, name, tuple(dict.fromkeys(getattr(self, name))))


class PrepareConfig(HeldOutConfig, frozen=True):
    """Which recordings teach and which judge; ABX needs texts of the test recordings, normalised by ``normalizer``."""

    normalizer: str = "simple"
    max_train_seconds: float = 3600.0
    min_seconds: float = 1.0
    max_seconds: float = 20.0


class WordsConfig(asr.WordsConfig, frozen=True):
    """Which CTC recogniser says when each word of the test texts was spoken."""

    test_manifest: Annotated[str | None, SHARED] = None


class Versions(msgspec.Struct, frozen=True):
    """A number for each change of training recordings."""

    time: Count = 1
    pitch: Count = 1
    room: Count = 1
    noise: Count = 1
    speaker: Count = 1
    telephone: Count = 1


class FeaturesConfig(_Once, frozen=True):
    """The encoder, its layers, and what is done to the recordings.

    Attributes:
        encoder: by name.
        layers: whose features are compared.
        begin_layer: whose features the heads take, if not these. Changed training speech is encoded no further.
        versions: how many drawings of each change every training recording is heard in; heads learn nothing from those
            with 0.
        test_kinds: changes to judge by.
        strength: of the changes.
        noises: folder of noises for training; made noise without it.
        test_noises: folder of noises for judging.
        dtype: of the stored features.
        processes: that encode; each has as many threads as one alone would.
    """

    train_manifest: Annotated[str | None, SHARED] = None
    test_manifest: Annotated[str | None, SHARED] = None
    encoder: Annotated[str, SHARED] = "embedded"
    layers: Layers = (3,)
    begin_layer: Annotated[Count | None, SHARED] = None
    versions: Versions = Versions()
    test_kinds: Annotated[tuple[Perturbation, ...], SHARED] = KINDS
    strength: PerturbationConfig = PerturbationConfig()
    noises: str | None = None
    test_noises: str | None = None
    dtype: str = "float16"
    processes: Annotated[Positive, NEUTRAL] = 1


Baselines = Annotated[int, SHARED, msgspec.Meta(ge=1, le=20)]
Teachers = Annotated[
    dict[Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,40}$")], Smoothing], SHARED, msgspec.Meta(min_length=1)
]


def _plain() -> dict[str, Smoothing]:
    return {"plain": Smoothing()}


class CodebooksConfig(_Once, frozen=True):
    """The k-means codebooks to be compared with, and those that teach.

    Attributes:
        baselines: how many codebooks of each K are compared with, made from different seeds: what k-means finds depends
            on it, and the comparison is with the mean. The first one teaches.
        kmeans: ``kmeans.clusters`` is taken from ``clusters`` one by one.
        teachers: the codebooks that teach, by name, and how each is smoothed. All teach one network.
    """

    layers: Layers = (3,)
    clusters: Clusters = (50, 100, 200, 500)
    baselines: Baselines = 1
    kmeans: KMeansConfig = KMeansConfig()
    teachers: Teachers = msgspec.field(default_factory=_plain)


class TrainConfig(_Once, frozen=True):
    """The heads; those of one layer are trained together.

    Attributes:
        teachers: of which each gives a head for each K.
        begin_layer: the layer whose features the heads take, if it is not the teacher's own: the heads then begin with
            copies of the encoder's ``upper_layers`` layers behind it and train them along.
        upper_layers: how many.
        upper_dropout: in the copies, while training.
        start: a folder that ``recipes.units_invariant.pack`` made, or ``embedded``: training goes on from those
            quantizers, as if the last of their rounds had been the one before.
        repeats: how often each drawing of a change is among the versions that passes take in turn; more for the changes
            that heads shall learn more from. Those with 0 are left out.
        invariant: the training.
    """

    layers: Layers = (3,)
    clusters: Clusters = (50, 100, 200, 500)
    teachers: Teachers = msgspec.field(default_factory=_plain)
    encoder: Annotated[str, SHARED] = "embedded"
    begin_layer: Annotated[Count | None, SHARED] = None
    upper_layers: Positive = 2
    upper_dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    start: str | None = None
    repeats: Versions = Versions()
    invariant: InvariantConfig = InvariantConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.invariant.epochs and self.start is None:
            raise ConfigError("train.invariant.epochs is empty and there is no train.start; give one of them")
        if self.invariant.learns == "units" and self.start is None:
            raise ConfigError(
                "train.invariant.learns is units and there is no train.start, whose network stays; give it"
            )


AtLeastZero = Annotated[float, msgspec.Meta(ge=0)]


class EvaluateConfig(_Once, frozen=True):
    """How units are judged.

    Attributes:
        baselines: how many codebooks of each K they are compared with.
        teachers: whose heads are compared.
        test_kinds: changes to judge by.
        prices: at which the heads are read too, beside that which they were trained with.
        bigram_weights: with which those that have a bigram are read too, at every price; with 0 it is left out.
        words: which test words are discriminated by ABX.
        pictures: test recordings to draw.
        picture_kind: the change whose ribbons are drawn beside the clean ones.
        picture_clusters: K of the quantizers that are drawn; the smallest when it is not there.
    """

    layers: Layers = (3,)
    clusters: Clusters = (50, 100, 200, 500)
    baselines: Baselines = 1
    teachers: Teachers = msgspec.field(default_factory=_plain)
    test_manifest: Annotated[str | None, SHARED] = None
    test_kinds: Annotated[tuple[Perturbation, ...], SHARED] = KINDS
    prices: tuple[AtLeastZero, ...] = ()
    bigram_weights: tuple[AtLeastZero, ...] = ()
    words: WordConfig = WordConfig()
    pictures: Count = 3
    picture_kind: Perturbation = "pitch"
    picture_clusters: int = 100
