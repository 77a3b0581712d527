"""Perturb and encode, cluster, train invariant quantizers, and compare: stages 1 to 6.

Each stage has its settings before its function; those of stages 5 and 6 are in `training` and `judging`, the work of
stage 2 in `alignment`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import msgspec

from speechkit.asr.load import recognizer_digest
from speechkit.augment.perturbations import CLEAN, Perturbation
from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.encoders.stages import DROP_REASONS as NOT_ENCODED
from speechkit.encoders.store import FeatureStore, LayerFrames
from speechkit.pipeline import SHARED, Context, Output, Recipe, Resources, Stage, external, model, stage
from speechkit.units.invariant.records import Plan, size_folder
from speechkit.units.invariant.versions import NOISES, ROOMS, EncodeVersions
from speechkit.units.kmeans import KMeansConfig
from speechkit.units.smoothed import Smoothing
from speechkit.units.stages import DROP_REASONS, Clusters, Count, HeldOutConfig, held_out

from .alignment import AlignWordsAndPhones, TokensConfig
from .judging import EvaluateConfig, evaluate
from .training import TrainConfig, train_quantizers

# The audio of later stages is where the manifests of the first one say.
TRAIN, TEST = (external(f"{part}_manifest", schema=Utterance, of="prepare") for part in ("train", "test"))
Kinds = Annotated[tuple[Perturbation, ...], SHARED, msgspec.Meta(min_length=1)]
NEEDS_FOLDER = {"noise": NOISES, "room_recorded": ROOMS}
"""Perturbations made with recordings, and the setting of each part that names their folder."""


class InvariantDataConfig(HeldOutConfig, frozen=True):
    """Training and test recordings; ABX needs texts of the test recordings, normalised by ``normalizer``."""

    normalizer: str = "simple"
    max_train_seconds: float = 18_000.0
    min_seconds: float = 1.0
    max_seconds: float = 20.0


def prepare(context: Context) -> None:
    """Choose the recordings; no test speaker is in the training part."""
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
    """Rows with a text and a speaker, whose words can be ABX tokens."""
    from speechkit.text import get_normalizer

    normal = get_normalizer(normalizer)
    for row in rows:
        text = " ".join(normal.normalize(row.text or "").text.split())
        if text and row.speaker:
            yield msgspec.structs.replace(row, text=text, custom={"manifest": "test_manifest"})


class FeaturesConfig(msgspec.Struct, frozen=True):
    """Encoder, layers, and perturbations of the recordings.

    Attributes:
        encoder: name or folder.
        layer: of the k-means codebooks, those compared with and those that teach.
        begin_layer: whose features the network takes.
        train_kinds: perturbations of training recordings; one that is named twice is drawn twice.
        test_kinds: perturbations of test recordings: of what training uses in two implementations, a third one too.
        noises: folder of noises for training.
        test_noises: folder of other noises for the test.
        rooms: folder of recorded impulse responses for training.
        test_rooms: folder of other ones for the test.
    """

    encoder: Annotated[str, SHARED] = "embedded"
    layer: Annotated[Count, SHARED] = 3
    begin_layer: Annotated[Count, SHARED] = 0
    train_kinds: Kinds = (
        "time", "time_librosa", "pitch", "pitch_ffmpeg", "room", "room_recorded", "noise", "noise_made", "speaker",
        "telephone",
    )  # fmt: skip
    test_kinds: Kinds = (
        "time", "pitch", "room", "noise", "speaker", "telephone", "time_ffmpeg", "pitch_librosa", "room_recorded",
        "shift", "gain",
    )  # fmt: skip
    noises: str | None = None
    test_noises: str | None = None
    rooms: str | None = None
    test_rooms: str | None = None
    dtype: ClassVar[str] = "float16"


class CodebooksConfig(msgspec.Struct, frozen=True):
    """The k-means codebooks that are compared with, and those that teach.

    Attributes:
        layer: of the encoder.
        clusters: numbers of units K; all are trained together.
        baselines: number of k-means codebooks of each K from different seeds; the comparison is with their mean, since
            results of k-means depend on the seed. The first one teaches.
        teacher_penalty: cost of switching unit in the teacher's units, in mean squared distances.
    """

    layer: Annotated[Count, SHARED] = 3
    clusters: Clusters = (50, 100, 200, 500)
    baselines: Annotated[int, SHARED, msgspec.Meta(ge=1, le=20)] = 5
    teacher_penalty: Annotated[float, msgspec.Meta(ge=0)] = 0.1


def cluster(context: Context) -> None:
    """Plain codebooks of clean training speech for each K, and the teachers."""
    from speechkit.units.smoothed import train_smoothed

    config = context.config
    plan = Plan(config.layer, tuple(dict.fromkeys(config.clusters)), config.baselines)
    store = FeatureStore(context.inputs["features"], plan.layer, "train")
    names = [name for name in store.ids() if name.endswith(f"#{CLEAN}")]
    for clusters in plan.clusters:
        context.log(f"K {clusters}")
        for number, name in enumerate(plan.baseline_names):
            trained = train_smoothed(
                partial(map, store.__getitem__, names),
                Smoothing(),
                KMeansConfig(clusters=clusters, seed=(context.seed + number) % 2**31),
                store.spec,
                context.log,
            )
            trained.codebook.save(context.output("codebooks") / size_folder(clusters) / name)
            if not number:
                teacher = trained.with_penalty(config.teacher_penalty)
                teacher.save(context.output("teachers") / size_folder(clusters))
    plan.write(context.output("teachers"))


def check(configs: Mapping[str, Any]) -> Iterator[str]:
    """Folders that the perturbations need."""
    if features := configs.get("features"):
        for part in ("train", "test"):
            for kind, folders in NEEDS_FOLDER.items():
                if kind in getattr(features, f"{part}_kinds") and getattr(features, folders[part]) is None:
                    yield (
                        f"features.{folders[part]} is not set and {part}_kinds has {kind}; give a folder of "
                        f"recordings, or {part}_kinds without {kind}"
                    )


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
            version=3,
            run=AlignWordsAndPhones,
            inputs=(stage("prepare", "speech.jsonl"), TEST, model("recognizer", digest=recognizer_digest)),
            outputs=(Output("words.jsonl", schema=Utterance, min_records=0),),
            config=TokensConfig,
            resources=Resources(cpus=2, gpus=1),
            drop_reasons=("no_alignment", "unreadable_audio"),
            part_records=64,
        ),
        Stage(
            number=3,
            name="features",
            version=4,
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
            version=6,
            run=cluster,
            inputs=(stage("features", "features.jsonl"),),
            outputs=(Output("codebooks"), Output("teachers")),
            config=CodebooksConfig,
            resources=Resources(cpus=2),
        ),
        Stage(
            number=5,
            name="train",
            version=5,
            run=train_quantizers,
            inputs=(
                stage("features", "features.jsonl"),
                stage("codebooks", "teachers"),
                model("encoder", digest=encoder_digest),
            ),
            outputs=(Output("quantizers"),),
            config=TrainConfig,
            resources=Resources(cpus=2, gpus=1),
        ),
        Stage(
            number=6,
            name="evaluate",
            version=7,
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
    description="Train quantizers whose units withstand perturbations of the audio, and compare them with k-means.",
    next_command="speechkit ued {exp}/05-train/current/quantizers/k-100 --manifest MANIFEST",
    check=check,
)
