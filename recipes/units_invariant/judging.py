"""Compare quantizers on unseen speakers: stage 6 and its settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from speechkit.augment.perturbations import CLEAN, Perturbation
from speechkit.encoders.probing.word_tokens import WordConfig, select_tokens, words_of
from speechkit.encoders.store import FeatureStore
from speechkit.pipeline import Context
from speechkit.units.invariant.records import (
    BASELINE,
    Comparison,
    InvariantReport,
    Plan,
    is_baseline,
    system_folder,
)
from speechkit.units.invariant.versions import version
from speechkit.units.stages import Count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechkit.data.records import Utterance
    from speechkit.encoders.probing.word_tokens import WordToken
    from speechkit.report.unit_picture import UnitPicture
    from speechkit.units.invariant.comparison import HeldOutSpeech, Measured, Units

PICTURE_SECONDS = 5.0
AtLeastZero = Annotated[float, msgspec.Meta(ge=0)]


class EvaluateConfig(msgspec.Struct, frozen=True):
    """How units are judged.

    Attributes:
        prices: at which the heads are read too, beside that which they were trained with.
        bigram_weights: with which those that have a bigram are read too, at every price; with 0 it is left out.
        words: which test words are discriminated by ABX.
        pictures: test recordings to draw.
        picture_kind: the change whose ribbons are drawn beside the clean ones.
        picture_clusters: K of the quantizers that are drawn; the smallest when it is not there.
    """

    prices: tuple[AtLeastZero, ...] = ()
    bigram_weights: tuple[AtLeastZero, ...] = ()
    words: WordConfig = WordConfig()
    pictures: Count = 3
    picture_kind: Perturbation = "pitch"
    picture_clusters: int = 100


def evaluate(context: Context) -> None:
    """Compare the quantizers of every layer and K."""
    from speechkit.io.atomic import write_json, write_text
    from speechkit.report.invariant_units_page import markdown, write_invariant_units_page
    from speechkit.units.invariant.comparison import compare

    config = context.config
    plan = Plan.read(context.inputs["teachers"])
    rows = {row.id: row for row in context.read("test")}
    words = {row.id: row for row in context.read("words")}
    store = FeatureStore(context.inputs["features"], part="test")
    spoken = [token for row in words.values() for token in words_of(row, config.words, store.spec.frame_rate)]
    tokens = select_tokens(spoken, config.words, context.seed)
    speech = _held_out_speech(store, rows, tokens, context.seed)
    comparisons: list[Comparison] = []
    drawn: dict[int, dict[str, dict[str, Units]]] = {}
    for layer in plan.layers:
        for clusters, systems, units in _measured(context, plan, layer, speech):
            drawn.setdefault(clusters, {}).update(units)
            comparisons.append(compare(layer, clusters, systems, speech))
    report = InvariantReport(
        encoder=store.spec.model,
        utterances=len(speech.ids),
        seconds=round(speech.seconds, 2),
        speakers=len(set(speech.speakers.values())),
        word_tokens=len(tokens),
        comparisons=comparisons,
        unnamed=len(speech.ids) - len(speech.speakers),
    )
    write_json(context.output("scores.json"), report)
    write_text(context.output("table.md"), markdown(report))
    chosen = config.picture_clusters if config.picture_clusters in drawn else min(drawn)
    pictures = _pictures(context, rows, words, drawn[chosen], chosen)
    write_invariant_units_page(context.output("report.html"), report, pictures)
    reductions = [
        f"K = {each.clusters} {name}: {-table['overall'].reduction:+.0%}"
        for each in comparisons
        for name, table in each.reductions.items()
        if "overall" in table
    ]
    context.main_figure = f"unit edit distance beside k-means: {'; '.join(reductions)}"


def _held_out_speech(
    store: FeatureStore, rows: Mapping[str, Utterance], tokens: Iterable[WordToken], seed: int
) -> HeldOutSpeech:
    """The test recordings of which all versions are stored."""
    from speechkit.units.invariant.comparison import HeldOutSpeech

    kinds = dict.fromkeys(name.rpartition("#")[2].partition("-")[0] for name in store.ids())
    ids = [name for name in rows if all(version(name, kind) in store for kind in kinds)]
    lengths = {name: store.frames(version(name, CLEAN)) for name in ids}
    return HeldOutSpeech(
        ids,
        [kind for kind in kinds if kind != CLEAN],
        {name: str(rows[name].speaker) for name in ids if rows[name].speaker},
        sum(rows[name].duration for name in ids),
        [token for token in tokens if token.utterance in lengths and token.end <= lengths[token.utterance]],
        seed,
    )


def _measured(
    context: Context, plan: Plan, layer: int, speech: HeldOutSpeech
) -> Iterator[tuple[int, dict[str, Measured], dict[str, dict[str, Units]]]]:
    """For each K of a layer what was measured of every quantizer, and the units of those that are drawn."""
    from speechkit.units.invariant.comparison import assign_versions, measure, other_readings
    from speechkit.units.quantizers import load_quantizer

    quantizers: dict[tuple[int, str], Any] = {
        (clusters, system): load_quantizer(folder)
        for clusters in plan.clusters
        for system, folder in _folders(context, plan, layer, clusters).items()
    }
    quantizers |= other_readings(quantizers, context.config.prices, context.config.bigram_weights)
    stores = {
        name: FeatureStore(context.inputs["features"], int(name), "test")
        for name in {quantizer.spec.encoder.layer for quantizer in quantizers.values()}
    }
    for (clusters, system), quantizer in quantizers.items():
        quantizer.check(stores[quantizer.spec.encoder.layer].spec, f"{system} of layer {layer} and K {clusters}")

    def read(name: str, item: str, kind: str) -> NDArray[Any]:
        return stores[name][version(item, kind)]

    units = assign_versions(quantizers, read, speech)
    for clusters in plan.clusters:
        measured: dict[str, Measured] = {}
        for key in (key for key in quantizers if key[0] == clusters):
            measured[key[1]] = measure(units[key], quantizers[key], read, speech)
            overall = measured[key[1]].result.ued.overall
            ued = overall.ued if overall else float("nan")
            context.log(f"layer {layer}, K {clusters}, {key[1]}: UED {ued:.3f}")
        drawn = [system for system in measured if system == BASELINE or not is_baseline(system)]
        yield clusters, measured, {system: units[clusters, system] for system in drawn}


def _folders(context: Context, plan: Plan, layer: int, clusters: int) -> dict[str, Path]:
    """The quantizers to be compared by name, the baselines first; a plain teacher is one of these."""
    from speechkit.units.smoothed import Smoothing

    def folder(stage: str, name: str) -> Path:
        return context.inputs[stage] / system_folder(layer, clusters, name)

    folders = {name: folder("codebooks", name) for name in plan.baseline_names}
    for name, smoothing in plan.teachers.items():
        if smoothing != Smoothing():
            folders[f"{BASELINE}, {name}"] = folder("teachers", name)
        folders[f"invariant, {name}"] = folder("quantizers", name)
    return folders


def _pictures(
    context: Context,
    rows: Mapping[str, Utterance],
    words: Mapping[str, Utterance],
    units: Mapping[str, Mapping[str, Units]],
    clusters: int,
) -> list[UnitPicture]:
    """Recordings of about `PICTURE_SECONDS`, those with words first."""
    from speechkit.report.unit_picture import Ribbon, picture_recording

    first = next(iter(units.values()))
    kinds = [kind for kind in (CLEAN, context.config.picture_kind) if kind in first]
    order = sorted(first[CLEAN], key=lambda name: (name not in words, abs(rows[name].duration - PICTURE_SECONDS)))
    return [
        picture_recording(
            rows[name],
            context.inputs["test_manifest"],
            [Ribbon(f"{system}, {kind}", each[kind][name]) for system, each in units.items() for kind in kinds],
            aligned=words.get(name),
            caption=f"K = {clusters}; equal colours are equal units of one quantizer. Lines are edges of words.",
        )
        for name in order[: context.config.pictures]
    ]
