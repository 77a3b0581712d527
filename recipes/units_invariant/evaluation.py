"""Stage 6: unit edit distances, word discrimination and statistics of all quantizers on unseen speakers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.probing.abx import AbxDifference, AbxScore
from speechkit.pipeline import Context
from speechkit.pipeline.manifests import manifest_of
from speechkit.units.invariant.records import (
    BASELINE,
    Comparison,
    InvariantReport,
    SystemResult,
    UnitStatistics,
    is_baseline,
)
from speechkit.units.ued import UedReduction

from .stages import CLEAN, baselines, layer_store, place

if TYPE_CHECKING:
    from speechkit.data.records import Utterance
    from speechkit.encoders.probing.word_tokens import WordToken
    from speechkit.report.unit_picture import UnitPicture

Units = dict[str, NDArray[np.int32]]
Key = tuple[int, str]
"""K and the name of a quantizer."""
Distances = dict[str, NDArray[np.float32]]
PICTURE_SECONDS = 5.0
WAYS = {"within": False, "across": True}
"""Of ABX, and whether X is of another speaker."""


def evaluate(context: Context) -> None:
    """Compare the quantizers of every layer and K."""
    from speechkit.encoders.probing.word_tokens import select_tokens, words_of
    from speechkit.io.atomic import write_json, write_text
    from speechkit.report.invariant_units_page import markdown, write_invariant_units_page
    from speechkit.units.quantizers import load_quantizer

    config = context.config
    if config.pictures:
        manifest_of(context.inputs, "test_manifest")
    rows = {row.id: row for row in context.read("test")}
    words = {row.id: row for row in context.read("words")}
    rate = layer_store(context.inputs["features"], "test", config.layers[0]).spec.frame_rate
    tokens = select_tokens(
        [token for row in words.values() for token in words_of(row, config.words, rate)], config.words, context.seed
    )
    comparisons = []
    drawn: dict[int, dict[str, dict[str, Units]]] = {}
    encoder = ""
    for layer in config.layers:
        store = layer_store(context.inputs["features"], "test", layer)
        encoder = store.spec.model
        kinds = [CLEAN, *config.test_kinds]
        ids = [name for name in rows if all(version(name, kind) in store for kind in kinds)]
        speakers = {name: str(rows[name].speaker) for name in ids if rows[name].speaker}
        seconds = sum(rows[name].duration for name in ids)
        lengths = {name: len(store[version(name, CLEAN)]) for name in ids}
        known = [token for token in tokens if token.utterance in lengths and token.end <= lengths[token.utterance]]
        loaded = {
            (clusters, system): load_quantizer(folder)
            for clusters in config.clusters
            for system, folder in _systems(context, layer, clusters).items()
        }
        loaded |= _read_otherwise(loaded, config.prices, config.bigram_weights)
        stores = {
            number: layer_store(context.inputs["features"], "test", number)
            for number in {_layer(quantizer) for quantizer in loaded.values()}
        }
        heard = {key: stores[_layer(quantizer)] for key, quantizer in loaded.items()}
        for key, quantizer in loaded.items():
            quantizer.check(heard[key].spec, f"{key[1]} of layer {layer} and K {key[0]}")
        said = _say(loaded, heard, ids, kinds)
        for clusters in config.clusters:
            systems: dict[str, SystemResult] = {}
            edits: dict[str, dict[str, Any]] = {}
            apart: dict[str, Distances] = {}
            for key in (key for key in loaded if key[0] == clusters):
                system = key[1]
                systems[system], edits[system], apart[system] = judge(
                    said[key], loaded[key], heard[key], known, speakers, seconds, config.test_kinds, context.seed
                )
                if system == BASELINE or not is_baseline(system):
                    drawn.setdefault(clusters, {})[system] = said[key]
                context.log(f"layer {layer}, K {clusters}, {system}: UED {_overall(systems[system]):.3f}")
            comparisons.append(
                Comparison(
                    layer,
                    clusters,
                    systems,
                    _reductions(edits, speakers, context.seed),
                    _abx_differences(apart, known, context.seed),
                )
            )
    report = InvariantReport(
        encoder=encoder,
        utterances=len(ids),
        seconds=round(seconds, 2),
        speakers=len(set(speakers.values())),
        word_tokens=len(tokens),
        comparisons=comparisons,
        unnamed=len(ids) - len(speakers),
    )
    write_json(context.output("scores.json"), report)
    write_text(context.output("table.md"), markdown(report))
    chosen = config.picture_clusters if config.picture_clusters in drawn else min(drawn)
    pictures = _pictures(context, rows, words, drawn[chosen], chosen)
    write_invariant_units_page(context.output("report.html"), report, pictures)


def _pictures(
    context: Context,
    rows: Mapping[str, Utterance],
    words: Mapping[str, Utterance],
    frames: Mapping[str, Mapping[str, Units]],
    clusters: int,
) -> list[UnitPicture]:
    """Recordings of about `PICTURE_SECONDS`, those with words first."""
    from speechkit.report.unit_picture import Ribbon, picture_recording

    config = context.config
    kinds = dict.fromkeys((CLEAN, config.picture_kind if config.picture_kind in config.test_kinds else CLEAN))
    ids = next(iter(frames.values()))[CLEAN]
    order = sorted(ids, key=lambda name: (name not in words, abs(rows[name].duration - PICTURE_SECONDS)))
    return [
        picture_recording(
            rows[name],
            context.inputs["test_manifest"],
            [Ribbon(f"{system}, {kind}", units[kind][name]) for system, units in frames.items() for kind in kinds],
            aligned=words.get(name),
            caption=f"K = {clusters}; equal colours are equal units of one quantizer. Lines are edges of words.",
        )
        for name in order[: config.pictures]
    ]


def _systems(context: Context, layer: int, clusters: int) -> dict[str, Path]:
    """The quantizers to be compared by name, the baselines first; a plain teacher is one of these."""
    from speechkit.units.smoothed import Smoothing

    found = {
        name: context.inputs["codebooks"] / place(layer, clusters, name) for name in baselines(context.config.baselines)
    }
    for name, smoothing in context.config.teachers.items():
        if smoothing != Smoothing():
            found[f"{BASELINE}, {name}"] = context.inputs["teachers"] / place(layer, clusters, name)
        found[f"invariant, {name}"] = context.inputs["quantizers"] / place(layer, clusters, name)
    return found


def _read_otherwise(loaded: Mapping[Key, Any], prices: Sequence[float], weights: Sequence[float]) -> dict[Key, Any]:
    """The invariant ones at other prices and other weights of their bigram."""
    from speechkit.units.invariant.quantizer import InvariantQuantizer

    found: dict[Key, Any] = {}
    for (clusters, system), quantizer in loaded.items():
        if not isinstance(quantizer, InvariantQuantizer):
            continue
        spec = quantizer.spec
        for price in dict.fromkeys([spec.price, *prices]):
            for weight in dict.fromkeys([spec.bigram_weight, *(weights if quantizer.bigram is not None else ())]):
                if (price, weight) != (spec.price, spec.bigram_weight):
                    bigram = "" if quantizer.bigram is None else f" and bigram {weight:g}"
                    found[clusters, f"{system} at {price:g} nats{bigram}"] = quantizer.at_price(price, weight)
    return found


def _layer(quantizer: Any) -> int:
    """Of the encoder whose frames the quantizer names."""
    return int(quantizer.spec.encoder.layer)


def _say(
    quantizers: Mapping[Key, Any], heard: Mapping[Key, Any], ids: Sequence[str], kinds: Sequence[str]
) -> dict[Key, dict[str, Units]]:
    """The frames' units by each, by kind and id; a network that several share runs once."""
    from speechkit.units.quantizers import assign_together

    said: dict[Key, dict[str, Units]] = {key: {kind: {} for kind in kinds} for key in quantizers}
    by_layer: dict[int, list[Key]] = {}
    for key, quantizer in quantizers.items():
        by_layer.setdefault(_layer(quantizer), []).append(key)
    for keys in by_layer.values():
        together, store = [quantizers[key] for key in keys], heard[keys[0]]
        for kind in kinds:
            for name in ids:
                for key, units in zip(keys, assign_together(together, store[version(name, kind)]), strict=True):
                    said[key][kind][name] = units
    return said


def judge(
    frames: Mapping[str, Units],
    quantizer: Any,
    store: Any,
    tokens: Sequence[WordToken],
    speakers: Mapping[str, str],
    seconds: float,
    kinds: Sequence[str],
    seed: int,
) -> tuple[SystemResult, dict[str, Any], Distances]:
    """One quantizer's result, its edits by kind, and the distances of word tokens by its units and dense frames."""
    from speechkit.augment.perturbations import AUDIBLE
    from speechkit.encoders.probing.dtw import distance_matrix
    from speechkit.units.invariant.quantizer import InvariantQuantizer
    from speechkit.units.ued import count_edits, ued_table

    clean = frames[CLEAN]
    changed = {kind: frames[kind] for kind in kinds}

    def one_hot(token: WordToken) -> NDArray[np.float32]:
        return np.eye(quantizer.num_units, dtype=np.float32)[clean[token.utterance][token.begin : token.end]]

    @cache
    def roots(utterance: str) -> NDArray[np.float32]:
        return np.asarray(np.sqrt(quantizer.posteriors(store[version(utterance, CLEAN)])), np.float32)

    def dense(token: WordToken) -> NDArray[np.float32]:
        if not isinstance(quantizer, InvariantQuantizer):
            return np.asarray(quantizer.centroids[clean[token.utterance][token.begin : token.end]])
        return roots(token.utterance)[token.begin : token.end]

    apart = {"": [one_hot(token) for token in tokens], "dense ": [dense(token) for token in tokens]}
    distances = {name: distance_matrix(segments) for name, segments in apart.items() if tokens}
    result = SystemResult(
        ued_table(clean, changed, AUDIBLE, speakers, seed),
        statistics(clean, quantizer.num_units, seconds),
        *(discrimination(distances.get(name), tokens, seed) for name in apart),
    )
    return result, {kind: count_edits(clean, changed[kind]) for kind in kinds}, distances


def statistics(clean: Units, clusters: int, seconds: float) -> UnitStatistics:
    """What the deduplicated units of clean speech carry."""
    from speechkit.units.deduplication import deduplicate

    runs = [deduplicate(units)[0] for units in clean.values()]
    counts = np.bincount(np.concatenate(runs), minlength=clusters).astype(float)
    share = counts[counts > 0] / max(counts.sum(), 1)
    entropy = float(-(share * np.log2(share)).sum())
    rate = float(counts.sum() / seconds)
    return UnitStatistics(rate, 2**entropy, rate * entropy, int((counts == 0).sum()))


def discrimination(
    distances: NDArray[np.float32] | None, tokens: Sequence[WordToken], seed: int
) -> dict[str, AbxScore]:
    """ABX errors of words within and across speakers; none where the tokens make no triple."""
    from speechkit.encoders.probing.abx import abx_score
    from speechkit.errors import UserError

    scores: dict[str, AbxScore] = {}
    if distances is None:
        return scores
    words, speakers = [token.word for token in tokens], [token.speaker for token in tokens]
    for name, across in WAYS.items():
        try:
            scores[name] = abx_score(distances, words, speakers, across=across, seed=seed)
        except UserError:
            continue
    return scores


def _abx_differences(
    apart: Mapping[str, Distances], tokens: Sequence[WordToken], seed: int
) -> dict[str, dict[str, AbxDifference]]:
    """Of every system but the baselines, by way."""
    from speechkit.encoders.probing.abx import abx_difference
    from speechkit.errors import UserError

    words, speakers = [token.word for token in tokens], [token.speaker for token in tokens]
    found: dict[str, dict[str, AbxDifference]] = {}
    firsts = [distances for system, distances in apart.items() if is_baseline(system)]
    for system, distances in apart.items():
        if is_baseline(system):
            continue
        found[system] = {}
        for kind, second in distances.items():
            for name, across in WAYS.items():
                try:
                    found[system][kind + name] = abx_difference(
                        [first[kind] for first in firsts], second, words, speakers, across=across, seed=seed
                    )
                except UserError:
                    continue
    return found


def version(item: str, kind: str) -> str:
    """The name under which a version's features are stored."""
    return f"{item}#{kind}" if kind == CLEAN else f"{item}#{kind}-0"


def _overall(result: SystemResult) -> float:
    return result.ued.overall.ued if result.ued.overall else float("nan")


def _reductions(
    edits: Mapping[str, Mapping[str, Any]], speakers: Mapping[str, str], seed: int
) -> dict[str, dict[str, UedReduction]]:
    """Of every system but the baselines, by change."""
    from speechkit.augment.perturbations import AUDIBLE
    from speechkit.units.ued import ued_reduction

    firsts = [measured for system, measured in edits.items() if is_baseline(system)]
    audible = [kind for kind in firsts[0] if kind in AUDIBLE]
    together = {kind: [kind] for kind in firsts[0]} | ({"overall": audible} if audible else {})
    return {
        system: {
            name: found
            for name, kinds in together.items()
            if (
                found := ued_reduction(
                    [first[kind] for first in firsts for kind in kinds],
                    [second[kind] for kind in kinds],
                    speakers,
                    seed=seed,
                )
            )
        }
        for system, second in edits.items()
        if not is_baseline(system)
    }


def read_report(path: Path) -> InvariantReport:
    """What stage 6 wrote."""
    return msgspec.json.decode(path.read_bytes(), type=InvariantReport)
