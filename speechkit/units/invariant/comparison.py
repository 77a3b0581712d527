"""Quantizers beside plain k-means: unit edit distances, word discrimination and statistics on unseen speakers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from speechkit.augment.perturbations import AUDIBLE, CLEAN
from speechkit.encoders.probing.abx import AbxDifference, AbxScore, abx_difference, abx_score
from speechkit.encoders.probing.dtw import distance_matrix
from speechkit.encoders.probing.word_tokens import WordToken
from speechkit.errors import UserError
from speechkit.units.deduplication import deduplicate
from speechkit.units.health import entropy_bits
from speechkit.units.invariant.quantizer import InvariantQuantizer
from speechkit.units.invariant.records import Comparison, SystemResult, UnitStatistics, is_baseline
from speechkit.units.quantizers import assign_together
from speechkit.units.ued import UedReduction, UtteranceEdits, count_edits, ued_reduction, ued_table

Units = dict[str, NDArray[np.int32]]
"""The unit of every frame (T,) by the id of the recording."""
Read = Callable[[str, str, str], NDArray[Any]]
"""Layer, id and kind of change to features (T, D)."""
Key = tuple[int, str]
"""K and the name of a quantizer."""
WAYS = {"within": False, "across": True}
"""Of ABX, and whether X is of another speaker."""


class HeldOutSpeech(NamedTuple):
    """Held-out speech on which quantizers are evaluated.

    Attributes:
        ids: of the recordings.
        kinds: of changes.
        speakers: by id, of those that are named.
        seconds: of all recordings.
        tokens: words that ABX compares.
        seed: of all draws.
    """

    ids: list[str]
    kinds: Sequence[str]
    speakers: Mapping[str, str]
    seconds: float
    tokens: list[WordToken]
    seed: int


class Measured(NamedTuple):
    """One quantizer: its result, its edits by kind, and the distances of word tokens by its units and dense frames."""

    result: SystemResult
    edits: dict[str, UtteranceEdits]
    distances: dict[str, NDArray[np.float32]]


def other_readings(
    quantizers: Mapping[Key, Any], penalties: Sequence[float], weights: Sequence[float]
) -> dict[Key, InvariantQuantizer]:
    """The invariant ones at other penalties of a change of unit and other weights of their bigram."""
    readings: dict[Key, InvariantQuantizer] = {}
    for (clusters, system), quantizer in quantizers.items():
        if not isinstance(quantizer, InvariantQuantizer):
            continue
        spec = quantizer.spec
        for penalty in dict.fromkeys([spec.price, *penalties]):
            for weight in dict.fromkeys([spec.bigram_weight, *(weights if quantizer.bigram is not None else ())]):
                if (penalty, weight) != (spec.price, spec.bigram_weight):
                    bigram = "" if quantizer.bigram is None else f" and bigram {weight:g}"
                    name = f"{system} at {penalty:g} nats{bigram}"
                    readings[clusters, name] = quantizer.at_price(penalty, weight)
    return readings


def assign_versions(quantizers: Mapping[Key, Any], read: Read, speech: HeldOutSpeech) -> dict[Key, dict[str, Units]]:
    """Frame-level units per quantizer, kind (clean among them) and id; a network that several share runs once."""
    kinds = [CLEAN, *speech.kinds]
    units: dict[Key, dict[str, Units]] = {key: {kind: {} for kind in kinds} for key in quantizers}
    by_layer: dict[str, list[Key]] = {}
    for key, quantizer in quantizers.items():
        by_layer.setdefault(quantizer.spec.encoder.layer, []).append(key)
    for layer, keys in by_layer.items():
        together = [quantizers[key] for key in keys]
        for kind in kinds:
            for name in speech.ids:
                for key, frames in zip(keys, assign_together(together, read(layer, name, kind)), strict=True):
                    units[key][kind][name] = frames
    return units


def measure(units: Mapping[str, Units], quantizer: Any, read: Read, speech: HeldOutSpeech) -> Measured:
    """One quantizer, of its units by kind and id.

    ABX is on one-hot frames, and on centroids or, of an invariant quantizer, on roots of posteriors.
    """
    clean = units[CLEAN]
    changed = {kind: units[kind] for kind in speech.kinds}
    layer = quantizer.spec.encoder.layer

    def one_hot(token: WordToken) -> NDArray[np.float32]:
        return np.eye(quantizer.num_units, dtype=np.float32)[clean[token.utterance][token.begin : token.end]]

    @cache
    def roots(utterance: str) -> NDArray[np.float32]:
        return np.asarray(np.sqrt(quantizer.posteriors(read(layer, utterance, CLEAN))), np.float32)

    def dense(token: WordToken) -> NDArray[np.float32]:
        if not isinstance(quantizer, InvariantQuantizer):
            rows: NDArray[np.float32] = quantizer.centroids[clean[token.utterance][token.begin : token.end]]
            return rows
        return roots(token.utterance)[token.begin : token.end]

    segments = {"": [one_hot(token) for token in speech.tokens], "dense ": [dense(token) for token in speech.tokens]}
    distances = {name: distance_matrix(each) for name, each in segments.items() if speech.tokens}
    result = SystemResult(
        ued_table(clean, changed, AUDIBLE, speech.speakers, speech.seed),
        statistics(clean, quantizer.num_units, speech.seconds),
        *(discrimination(distances.get(name), speech.tokens, speech.seed) for name in segments),
    )
    return Measured(result, {kind: count_edits(clean, each) for kind, each in changed.items()}, distances)


def compare(layer: int, clusters: int, systems: Mapping[str, Measured], speech: HeldOutSpeech) -> Comparison:
    """The quantizers of a layer and K beside plain k-means of all seeds."""
    firsts = [measured for system, measured in systems.items() if is_baseline(system)]
    others = {system: measured for system, measured in systems.items() if not is_baseline(system)}
    return Comparison(
        layer,
        clusters,
        {system: measured.result for system, measured in systems.items()},
        {system: _reductions(firsts, measured, speech) for system, measured in others.items()},
        {system: _abx_differences(firsts, measured, speech) for system, measured in others.items()},
    )


def statistics(clean: Units, clusters: int, seconds: float) -> UnitStatistics:
    """What the deduplicated units of clean speech carry."""
    runs = np.concatenate([deduplicate(units)[0] for units in clean.values()])
    counts = np.bincount(runs, minlength=clusters)
    entropy, rate = entropy_bits(counts), len(runs) / seconds
    return UnitStatistics(rate, 2**entropy, rate * entropy, int((counts == 0).sum()))


def discrimination(
    distances: NDArray[np.float32] | None, tokens: Sequence[WordToken], seed: int
) -> dict[str, AbxScore]:
    """ABX errors of words within and across speakers; none where the tokens make no triple."""
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


def _abx_differences(firsts: Sequence[Measured], second: Measured, speech: HeldOutSpeech) -> dict[str, AbxDifference]:
    """By way, of dense frames under ``dense within`` and so on."""
    words, speakers = [token.word for token in speech.tokens], [token.speaker for token in speech.tokens]
    differences: dict[str, AbxDifference] = {}
    for kind, distances in second.distances.items():
        for name, across in WAYS.items():
            before = [first.distances[kind] for first in firsts]
            try:
                differences[kind + name] = abx_difference(
                    before, distances, words, speakers, across=across, seed=speech.seed
                )
            except UserError:
                continue
    return differences


def _reductions(firsts: Sequence[Measured], second: Measured, speech: HeldOutSpeech) -> dict[str, UedReduction]:
    """By change, and of all audible ones together; changes under which the units of k-means stay are left out."""
    audible = [kind for kind in speech.kinds if kind in AUDIBLE]
    groups = {kind: [kind] for kind in speech.kinds} | ({"overall": audible} if audible else {})
    reductions = {
        name: ued_reduction(
            [first.edits[kind] for first in firsts for kind in kinds],
            [second.edits[kind] for kind in kinds],
            speech.speakers,
            seed=speech.seed,
        )
        for name, kinds in groups.items()
    }
    return {name: reduction for name, reduction in reductions.items() if reduction is not None}
