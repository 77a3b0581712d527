"""Perturb and encode, cluster, train invariant quantizers, and compare: stages 1 to 6.

Each stage has its settings before its function; those of stages 5 and 6 are in `training` and `judging`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Literal

import msgspec

from speechkit.asr.load import recognizer_digest
from speechkit.asr.stages import AlignWords, WordsConfig
from speechkit.augment.perturbations import CLEAN, KINDS, Perturbation, PerturbationConfig
from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.encoders.stages import DROP_REASONS as NOT_ENCODED
from speechkit.encoders.store import FeatureStore, LayerFrames
from speechkit.errors import ConfigError
from speechkit.pipeline import (
    NEUTRAL,
    SHARED,
    Context,
    Output,
    Recipe,
    Resources,
    Stage,
    external,
    model,
    stage,
)
from speechkit.units.invariant.records import Plan, system_folder
from speechkit.units.invariant.versions import NOISES, ROOMS, EncodeVersions, Versions
from speechkit.units.kmeans import KMeansConfig
from speechkit.units.smoothed import Smoothing
from speechkit.units.stages import DROP_REASONS, Clusters, Count, HeldOutConfig, Layers, Positive, held_out

from .judging import EvaluateConfig, evaluate
from .training import TrainConfig, start_digest, train_quantizers

# The audio of later stages is where the manifests of the first one say.
TRAIN, TEST = (external(f"{part}_manifest", schema=Utterance, of="prepare") for part in ("train", "test"))


class InvariantDataConfig(HeldOutConfig, frozen=True):
    """Which recordings teach and which judge; ABX needs texts of the test recordings, normalised by ``normalizer``."""

    normalizer: str = "simple"
    max_train_seconds: float = 3600.0
    min_seconds: float = 1.0
    max_seconds: float = 20.0


def prepare(context: Context) -> None:
    """Choose the recordings; a speaker who judges teaches nothing."""
    train, test = held_out(context, draw_by_part=True)
    parts = {"train": train, "test": test}
    named = {
        part: [msgspec.structs.replace(row, id=f"{part}/{row.id}") for row in rows] for part, rows in parts.items()
    }
    for part, rows in named.items():
        context.write(f"{part}.jsonl", rows)
    context.write(
        "recordings.jsonl",
        (msgspec.structs.replace(row, custom={"part": part}) for part, rows in named.items() for row in rows),
    )
    context.write("speech.jsonl", _with_words(named["test"], context.config.normalizer))


def _with_words(rows: Sequence[Utterance], normalizer: str) -> Iterator[Utterance]:
    """Those whose words can be tokens: a text and a speaker."""
    from speechkit.text import get_normalizer

    normal = get_normalizer(normalizer)
    for row in rows:
        text = " ".join(normal.normalize(row.text or "").text.split())
        if text and row.speaker:
            yield msgspec.structs.replace(row, text=text, custom={"manifest": "test_manifest"})


class FeaturesConfig(msgspec.Struct, frozen=True):
    """The encoder, its layers, and what is done to the recordings.

    Attributes:
        encoder: by name.
        layers: whose features are compared.
        begin_layer: whose features the heads take, if not these. Changed training speech is encoded no further.
        versions: how many drawings of each change every training recording is heard in; heads learn nothing from those
            with 0.
        test_kinds: changes to judge by.
            Changes by further implementations (``pitch_ffmpeg`` …) are judged best by one that training does not hear.
        strength: of the changes.
        noises: folder of noises for training; made noise without it.
        test_noises: folder of noises for judging.
        rooms: folder of recorded impulse responses, for ``room_recorded`` in training.
        test_rooms: the same for judging.
        dtype: of the stored features.
        processes: must be 1; ``--workers`` encodes in several processes.
    """

    encoder: Annotated[str, SHARED] = "embedded"
    layers: Layers = (3,)
    begin_layer: Annotated[Count | None, SHARED] = None
    versions: Versions = Versions()
    test_kinds: Annotated[tuple[Perturbation, ...], SHARED] = KINDS
    strength: PerturbationConfig = PerturbationConfig()
    noises: str | None = None
    test_noises: str | None = None
    rooms: str | None = None
    test_rooms: str | None = None
    dtype: Literal["float16", "float32"] = "float16"
    processes: Annotated[Positive, NEUTRAL] = 1

    def __post_init__(self) -> None:
        if self.processes > 1:
            raise ConfigError(f"features.processes is {self.processes}; leave it out and give --workers instead")


Teachers = Annotated[
    dict[Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,40}$")], Smoothing], SHARED, msgspec.Meta(min_length=1)
]


class CodebooksConfig(msgspec.Struct, frozen=True):
    """The k-means codebooks to be compared with, and those that teach.

    Attributes:
        layers: that were encoded, to be compared.
        clusters: K, one by one.
        baselines: how many codebooks of each K are compared with, made from different seeds: what k-means finds depends
            on it, and the comparison is with the mean. The first one teaches.
        kmeans: ``kmeans.clusters`` is taken from ``clusters`` one by one.
        teachers: the codebooks that teach, by name, and how each is smoothed. All teach one network.
    """

    layers: Layers = (3,)
    clusters: Clusters = (50, 100, 200, 500)
    baselines: Annotated[int, SHARED, msgspec.Meta(ge=1, le=20)] = 1
    kmeans: KMeansConfig = KMeansConfig()
    teachers: Teachers = msgspec.field(default_factory=lambda: {"plain": Smoothing()})


def cluster(context: Context) -> None:
    """For each layer and K a plain codebook of clean training speech, and those that teach."""
    from speechkit.units.smoothed import train_smoothed

    config = context.config
    layers, sizes = (tuple(dict.fromkeys(each)) for each in (config.layers, config.clusters))
    plan = Plan(layers, sizes, config.baselines, config.teachers)
    for layer in plan.layers:
        store = FeatureStore(context.inputs["features"], layer, "train")
        names = [name for name in store.ids() if name.endswith(f"#{CLEAN}")]
        for clusters in plan.clusters:
            context.log(f"layer {layer}, K {clusters}")
            # The first seed's smoothed ones are the teachers, the plain ones of all seeds are compared with.
            made = {
                (frames, number): train_smoothed(
                    partial(map, store.__getitem__, names),
                    Smoothing(frames),
                    msgspec.structs.replace(config.kmeans, clusters=clusters, seed=(context.seed + number) % 2**31),
                    store.spec,
                    context.log,
                )
                for frames in sorted({1, *(smoothing.frames for smoothing in plan.teachers.values())})
                for number in range(plan.baselines if frames == 1 else 1)
            }
            for number, name in enumerate(plan.baseline_names):
                made[1, number].codebook.save(context.output("codebooks") / system_folder(layer, clusters, name))
            for name, smoothing in plan.teachers.items():
                teacher = made[smoothing.frames, 0].at_price(smoothing.price)
                teacher.save(context.output("teachers") / system_folder(layer, clusters, name))
    plan.write(context.output("teachers"))


recipe = Recipe(
    "units_invariant",
    (
        Stage(
            number=1,
            name="prepare",
            version=3,
            run=prepare,
            inputs=(external("train_manifest", schema=Utterance), external("test_manifest", schema=Utterance)),
            outputs=(
                Output("train.jsonl", schema=Utterance),
                Output("test.jsonl", schema=Utterance),
                Output("recordings.jsonl", schema=Utterance),
                Output("speech.jsonl", schema=Utterance, min_records=0),
            ),
            config=InvariantDataConfig,
            drop_reasons=DROP_REASONS,
        ),
        Stage(
            number=2,
            name="words",
            version=2,
            run=AlignWords,
            inputs=(stage("prepare", "speech.jsonl"), TEST, model("recognizer", digest=recognizer_digest)),
            outputs=(Output("words.jsonl", schema=Utterance, min_records=0),),
            config=WordsConfig,
            resources=Resources(cpus=2, gpus=1),
            drop_reasons=("no_alignment", "unreadable_audio"),
            part_records=64,
        ),
        Stage(
            number=3,
            name="features",
            version=3,
            run=EncodeVersions,
            inputs=(
                stage("prepare", "recordings.jsonl"),
                TRAIN,
                TEST,
                *map(external, (*NOISES.values(), *ROOMS.values())),
                model("encoder", digest=encoder_digest),
            ),
            outputs=(Output("features.jsonl", schema=LayerFrames, holds=tuple(("part", part) for part in NOISES)),),
            config=FeaturesConfig,
            resources=Resources(cpus=1, gpus=1),
            drop_reasons=NOT_ENCODED,
            part_records=8,  # all versions of a part's recordings are in memory at once
        ),
        Stage(
            number=4,
            name="codebooks",
            version=5,
            run=cluster,
            inputs=(stage("features", "features.jsonl"),),
            outputs=(Output("codebooks"), Output("teachers")),
            config=CodebooksConfig,
            resources=Resources(cpus=2),
        ),
        Stage(
            number=5,
            name="train",
            version=4,
            run=train_quantizers,
            inputs=(
                stage("features", "features.jsonl"),
                stage("codebooks", "teachers"),
                model("encoder", digest=encoder_digest),
                model("start", digest=start_digest),
            ),
            outputs=(Output("quantizers"),),
            config=TrainConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=6,
            name="evaluate",
            version=6,
            run=evaluate,
            inputs=(
                stage("features", "features.jsonl"),
                stage("codebooks", "codebooks"),
                stage("codebooks", "teachers"),
                stage("train", "quantizers"),
                stage("prepare", "test.jsonl"),
                stage("words", "words.jsonl"),
                TEST,
            ),
            outputs=(Output("scores.json"), Output("table.md"), Output("report.html")),
            config=EvaluateConfig,
            resources=Resources(cpus=1),
        ),
    ),
    description="Train quantizers whose units withstand changes of the sound, and measure by how much.",
    next_command="speechkit ued {exp}/05-train/current/quantizers/NAME --manifest MANIFEST",
)
