"""The work of stages 1, 4 and 5; heavy libraries load when they run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.pipeline import Context, Interrupted
from speechkit.units.invariant.records import BASELINE

if TYPE_CHECKING:
    from speechkit.encoders.store import FeatureStore
    from speechkit.units.invariant.quantizer import InvariantQuantizer

    from .config import TrainConfig, Versions

CLEAN = "clean"
EMBEDDED = "embedded"
"""The quantizers inside the package, as what training starts from."""


def prepare(context: Context) -> None:
    """Choose the recordings; a speaker who judges teaches nothing."""
    from speechkit.units.stages import held_out

    train, test = held_out(context, draw_by_part=True)
    named = {
        part: [msgspec.structs.replace(row, id=f"{part}/{row.id}") for row in rows]
        for part, rows in (("train", train), ("test", test))
    }
    for part, rows in named.items():
        context.write(f"{part}.jsonl", rows)
    context.write("speech.jsonl", _with_words(named["test"], context.config.normalizer))


def _with_words(rows: Sequence[Utterance], normalizer: str) -> Iterator[Utterance]:
    """Those whose words can be tokens: a text and a speaker."""
    from speechkit.text import get_normalizer

    normal = get_normalizer(normalizer)
    for row in rows:
        text = " ".join(normal.normalize(row.text or "").text.split())
        if text and row.speaker:
            yield msgspec.structs.replace(row, text=text, custom={"manifest": "test_manifest"})


def cluster(context: Context) -> None:
    """For each layer and K a plain codebook of clean training speech, and those that teach."""
    from speechkit.units.smoothed import Smoothing, train_smoothed

    config = context.config
    for layer in config.layers:
        store = layer_store(context.inputs["features"], "train", layer)
        names = [name for name in store.ids() if name.endswith(f"#{CLEAN}")]
        for clusters in config.clusters:
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
                for frames in sorted({1, *(smoothing.frames for smoothing in config.teachers.values())})
                for number in range(config.baselines if frames == 1 else 1)
            }
            for number, name in enumerate(baselines(config.baselines)):
                made[1, number].codebook.save(context.output("codebooks") / place(layer, clusters, name))
            for name, smoothing in config.teachers.items():
                teacher = made[smoothing.frames, 0].at_price(smoothing.price)
                teacher.save(context.output("teachers") / place(layer, clusters, name))


def train_quantizers(context: Context) -> None:
    """A quantizer for each layer, K and teacher; layers that are done survive an interruption."""
    config = context.config
    for layer in config.layers:
        folders = [place(layer, clusters, name) for clusters in context.config.clusters for name in config.teachers]
        done = context.scratch / "done"
        if not all((done / folder / "quantizer.json").is_file() for folder in folders):
            for folder, quantizer in zip(folders, _trained(context, layer, folders), strict=True):
                quantizer.save(done / folder)
        for folder in folders:
            shutil.copytree(done / folder, context.output("quantizers") / folder)


def _trained(context: Context, layer: int, folders: Sequence[str]) -> list[InvariantQuantizer]:
    """All of a layer."""
    from speechkit.units.invariant.training import train_invariant
    from speechkit.units.invariant.upper_layers import copy_upper_layers
    from speechkit.units.smoothed import SmoothedCodebook

    config = context.config
    begin = layer if config.begin_layer is None else config.begin_layer
    store = layer_store(context.inputs["features"], "train", begin)
    upper = None
    if config.begin_layer is not None:
        upper = copy_upper_layers(config.encoder, begin, config.upper_layers, config.upper_dropout)
    result = train_invariant(
        [SmoothedCodebook.load(context.inputs["teachers"] / folder) for folder in folders],
        versions_of(store.ids(), config.repeats),
        store.__getitem__,
        config.invariant,
        context.scratch / "rounds" / f"layer-{layer}",
        upper=upper,
        encoder=store.spec,
        start=_start(config),
        teach=layer_store(context.inputs["features"], "train", layer).__getitem__,
        seed=context.seed % 2**31,
        device=context.device,
        should_stop=lambda: context.interrupted,
        log=lambda line: context.log(f"layer {layer}, {line}"),
    )
    if result is None:
        raise Interrupted
    if result.left_out:
        context.log(
            f"layer {layer}: versions too short for their targets, by round: "
            f"{', '.join(map(str, result.left_out))} of {result.versions}"
        )
    return result.quantizers


def versions_of(names: Sequence[str], repeats: Versions) -> dict[str, list[str]]:
    """Of each recording the stored features that are learned from: clean ones once, a change as often as asked for."""
    often = {CLEAN: 1} | msgspec.structs.asdict(repeats)
    versions: dict[str, list[str]] = {}
    for name in names:
        item, _, drawn = name.rpartition("#")
        versions.setdefault(item, []).extend([name] * often[drawn.partition("-")[0]])
    return versions


def _start(config: TrainConfig) -> list[InvariantQuantizer]:
    """What training goes on from: one for each K and teacher.

    Raises:
        ConfigError: if there are several teachers that would all be taught the same.
    """
    from speechkit.units.embedded import unpack

    if config.start is None:
        return []
    if len(config.teachers) > 1 and not (config.invariant.epochs and config.invariant.next_round == "clusters"):
        raise ConfigError(
            f"start has one quantizer for each K, whose units are the same for all {len(config.teachers)} teachers; "
            "name one teacher, or have new clusters learned (train.invariant.next_round=clusters)"
        )
    folder = _start_folder(config.start)
    begun = [unpack(str(clusters), folder) for clusters in config.clusters]
    return [quantizer for quantizer in begun for _ in config.teachers]


def start_digest(start: str) -> str:
    """Digest of the quantizers of a folder."""
    from speechkit.units.embedded import packed_digest

    return packed_digest(_start_folder(start))


def _start_folder(start: str) -> Path:
    from speechkit.units.embedded import MODELS

    return MODELS if start == EMBEDDED else Path(start)


def baselines(count: int) -> list[str]:
    """Names of the plain codebooks that quantizers are compared with, that of the first seed first."""
    return [BASELINE, *(f"{BASELINE}-{number}" for number in range(2, count + 1))]


def place(layer: int, clusters: int, name: str) -> str:
    """The folder inside its stage of a baseline, or of what has to do with a teacher."""
    return f"layer-{layer}/k-{clusters}/{name}"


def layer_store(features: Path, part: str, layer: int) -> FeatureStore:
    """The features of ``train`` or ``test`` recordings.

    Raises:
        UserError: if the layer was not kept.
    """
    from speechkit.encoders.store import FeatureStore

    folder = features / part / f"layer-{layer}"
    if not folder.is_dir():
        raise UserError(f"{features}: layer {layer} was not kept; run the features stage with layers=[{layer}]")
    return FeatureStore(folder)
