"""Stages 1 to 6: data, features, codebooks, units, acoustic BPE and scores."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from speechkit.data.records import Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.encoders.spec import stored_layers
from speechkit.encoders.stages import DROP_REASONS as NOT_ENCODED
from speechkit.encoders.stages import Encode
from speechkit.encoders.store import FeatureStore, LayerFrames
from speechkit.errors import UserError
from speechkit.pipeline import (
    NEUTRAL,
    SHARED,
    Context,
    Interrupted,
    Output,
    Recipe,
    Resources,
    Stage,
    external,
    model,
    stage,
)
from speechkit.units.evaluation import explained_variance
from speechkit.units.kmeans import KMeansConfig
from speechkit.units.records import BpeCurve, Fit, Kind, Systems
from speechkit.units.stages import DROP_REASONS, Clusters, HeldOutConfig, Layers, Positive, held_out
from speechkit.units.training import BATCH_FRAMES

from .judging import PARTS, BpeConfig, ScoreConfig, score, shorten

# Later stages read the audio through the manifests of the first stage.
TRAIN, TEST = (external(f"{part}_manifest", schema=Utterance, of="prepare") for part in ("train", "test"))


def prepare(context: Context) -> None:
    """Choose the recordings; test speakers are not used for training."""
    train, test = held_out(context)
    context.write("test.jsonl", test)
    context.write("recordings.jsonl", [*_marked(train, "train"), *_marked(test, "test")])


def _marked(rows: Sequence[Utterance], part: str) -> Iterator[Utterance]:
    for row in rows:
        custom = {"part": part, "id": row.id}
        yield msgspec.structs.replace(row, id=f"{part}/{row.id}", custom=custom, alignment=None, text=None)


class FeaturesConfig(msgspec.Struct, frozen=True):
    """The encoder, its layers, and the format of the stored frames."""

    encoder: Annotated[str, SHARED] = "embedded"
    layers: Layers = (3,)
    dtype: Literal["float16", "float32"] = "float16"
    compute: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_size: Annotated[Positive, NEUTRAL] = 8


class CodebooksConfig(msgspec.Struct, frozen=True):
    """Codebooks of every kind and K for each layer.

    Attributes:
        kinds: ``k-means`` with the settings of ``kmeans``, ``spherical`` on frames of unit length, ``residual`` and
            ``product`` with ``codebooks`` codebooks of K units each.
        clusters: values of K.
        codebooks: number of codebooks of a residual or product quantizer.
        kmeans: all other settings; its ``clusters`` is ignored.
    """

    clusters: Clusters = (50, 100, 200, 500)
    kinds: Annotated[tuple[Kind, ...], SHARED, msgspec.Meta(min_length=1)] = ("k-means",)
    codebooks: Annotated[Positive, SHARED] = 2
    kmeans: KMeansConfig = KMeansConfig()


def cluster(context: Context) -> None:
    """Train a quantizer for each layer, kind and K; finished ones survive an interruption."""
    from speechkit.units.training import train_quantizer

    config, features = context.config, context.inputs["features"]
    encoded = FeatureStore(features, part="train").spec
    layers = stored_layers(encoded)
    systems = Systems.of(layers, config.kinds, config.clusters, config.codebooks, encoded.frame_rate)

    def stop_if_asked() -> None:
        if context.interrupted:
            raise Interrupted

    for number, system in enumerate(systems.quantizers, 1):
        done = context.scratch / system.folder
        if (done / "done").is_file():
            context.log(f"{system.name}: already trained")
        else:
            store = FeatureStore(features, system.layer, "train")
            size = max(config.kmeans.sample_frames, system.clusters)
            values = {"clusters": system.clusters, "sample_frames": size, "seed": context.seed % 2**31}
            settings = msgspec.structs.replace(config.kmeans, **values)
            try:
                train_quantizer(store, system.kind, settings, config.codebooks, context.log, stop_if_asked).save(done)
            except UserError as error:
                raise UserError(f"{system.name}: {error}") from error
            (done / "done").touch()
        target = context.output("codebooks") / system.folder
        shutil.copytree(done, target, ignore=shutil.ignore_patterns("done"))
        context.progress.update(number, len(systems.quantizers))
    systems.write(context.output("codebooks"))


def assign(context: Context) -> None:
    """Assign frames to units, with durations, for each quantizer, codebook and part."""
    from speechkit.io.atomic import write_json
    from speechkit.units.quantizers import open_quantizer
    from speechkit.units.sequences import quantize_recording, write_sequences

    fits = []
    systems = Systems.read(context.inputs["codebooks"])
    for number, system in enumerate(systems.quantizers):
        quantizer = open_quantizer(context.inputs["codebooks"] / system.folder)
        for part in PARTS:
            store = FeatureStore(context.inputs["features"], system.layer, part)
            quantizer.check(store.spec, system.name)
            paths = [context.output("units") / stream.folder / f"{part}.jsonl" for stream in systems.streams(system)]
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
            write_sequences(paths, (quantize_recording(name, store[name], quantizer) for name in store.ids()))
        fits.append(Fit(system, round(explained_variance(quantizer, store.batches(BATCH_FRAMES)), 6)))
        context.progress.update(number + 1, len(systems.quantizers))
        if context.interrupted:
            raise Interrupted
    systems.write(context.output("units"))
    write_json(context.output("fits.json"), fits)


def check(configs: Mapping[str, Any]) -> Iterator[str]:
    """Errors of settings of acoustic BPE that name no codebook."""
    bpe, codebooks = configs.get("bpe"), configs.get("codebooks")
    if bpe is None or codebooks is None:
        return
    if missing := sorted(set(bpe.bpe_clusters) - set(codebooks.clusters)):
        shown = ", ".join(map(str, codebooks.clusters))
        yield f"bpe.bpe_clusters: {missing[0]} is none of clusters ({shown}); name some of them, or none for all"
    if not bpe.sizes:
        yield "bpe.sizes is empty; give the numbers of tokens to measure at"


recipe = Recipe(
    "units",
    (
        Stage(
            number=1,
            name="prepare",
            run=prepare,
            inputs=(external("train_manifest", schema=Utterance), external("test_manifest", schema=Utterance)),
            outputs=(Output("recordings.jsonl", schema=Utterance), Output("test.jsonl", schema=Utterance)),
            config=HeldOutConfig,
            drop_reasons=DROP_REASONS,
            version=2,
        ),
        Stage(
            number=2,
            name="features",
            run=Encode,
            inputs=(stage("prepare", "recordings.jsonl"), TRAIN, TEST, model("encoder", digest=encoder_digest)),
            outputs=(Output("features.jsonl", schema=LayerFrames, holds=tuple(("part", part) for part in PARTS)),),
            config=FeaturesConfig,
            resources=Resources(cpus=1, gpus=1),
            drop_reasons=NOT_ENCODED,
        ),
        Stage(
            number=3,
            name="codebooks",
            run=cluster,
            inputs=(stage("features", "features.jsonl"),),
            outputs=(Output("codebooks"),),
            config=CodebooksConfig,
            resources=Resources(cpus=2),
        ),
        Stage(
            number=4,
            name="assign",
            run=assign,
            inputs=(stage("features", "features.jsonl"), stage("codebooks", "codebooks")),
            outputs=(Output("units"), Output("fits.json")),
            resources=Resources(cpus=2),
        ),
        Stage(
            number=5,
            name="bpe",
            run=shorten,
            inputs=(stage("assign", "units"),),
            outputs=(Output("merges"), Output("curves.jsonl", schema=BpeCurve)),
            config=BpeConfig,
            version=3,
        ),
        Stage(
            number=6,
            name="score",
            run=score,
            inputs=(
                stage("assign", "units"),
                stage("assign", "fits.json"),
                stage("bpe", "curves.jsonl"),
                stage("prepare", "test.jsonl"),
                TEST,
                external("phones_manifest", schema=Utterance),
            ),
            outputs=(Output("scores.json"), Output("table.md"), Output("report.html")),
            config=ScoreConfig,
            version=2,
        ),
    ),
    check=check,
    description="Turn speech into discrete units by k-means, and score them.",
)
