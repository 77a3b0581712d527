"""Quantizers compared with plain k-means: unit edit distances, ABX and statistics on unseen speakers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from speechkit.augment.perturbations import CLEAN, CONTROLS
from speechkit.encoders.probing.abx import AbxDifference, AbxScore, abx_difference, abx_score
from speechkit.encoders.probing.dtw import distance_matrix
from speechkit.encoders.probing.phone_abx import (
    PhoneCell,
    PhoneToken,
    phone_abx,
    phone_abx_difference,
    phone_cells,
)
from speechkit.encoders.probing.word_tokens import WordToken
from speechkit.errors import UserError
from speechkit.units.deduplication import deduplicate
from speechkit.units.health import entropy_bits
from speechkit.units.invariant.quantizer import InvariantQuantizer
from speechkit.units.invariant.records import INVARIANT, Comparison, SystemResult, UnitStatistics, is_baseline
from speechkit.units.quantizers import assign_together
from speechkit.units.ued import UedReduction, UtteranceEdits, count_edits, ued_reduction, ued_table

Units = dict[str, NDArray[np.int32]]
"""The unit of every frame (T,) by the id of the recording."""
Read = Callable[[str, str, str], NDArray[Any]]
"""Layer, id and perturbation to features (T, D)."""
Key = tuple[int, str]
"""K and the name of a quantizer."""
WAYS = {"within": False, "across": True}
"""Of ABX, and whether X is of another speaker."""


class HeldOutSpeech(NamedTuple):
    """Held-out speech on which quantizers are evaluated.

    Attributes:
        ids: of the recordings.
        kinds: of perturbations.
        speakers: by id, of those that are named.
        seconds: of all recordings.
        words: tokens that word ABX compares.
        phones: tokens that phone ABX compares; empty without.
        seed: of all draws.
    """

    ids: list[str]
    kinds: Sequence[str]
    speakers: Mapping[str, str]
    seconds: float
    words: list[WordToken]
    phones: list[PhoneToken]
    seed: int


class Measured(NamedTuple):
    """Measurements of one quantizer.

    Attributes:
        result: for the report.
        edits: by perturbation.
        distances: of word tokens, by units and by dense frames.
        cells: of phone ABX, within and across speakers.
    """

    result: SystemResult
    edits: dict[str, UtteranceEdits]
    distances: dict[str, NDArray[np.float32]]
    cells: dict[str, list[PhoneCell]]


def with_penalties(quantizers: Mapping[Key, Any], penalties: Sequence[float]) -> dict[Key, InvariantQuantizer]:
    """The invariant quantizers decoded with other switch penalties."""
    return {
        (clusters, f"{INVARIANT} at {penalty:g} nats"): quantizer.with_penalty(penalty)
        for (clusters, _), quantizer in quantizers.items()
        if isinstance(quantizer, InvariantQuantizer)
        for penalty in dict.fromkeys(penalties)
        if penalty != quantizer.spec.switch_penalty
    }


def assign_versions(quantizers: Mapping[Key, Any], read: Read, speech: HeldOutSpeech) -> dict[Key, dict[str, Units]]:
    """Frame-level units per quantizer, perturbation (clean among them) and id; a shared network runs once."""
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
    """Measure one quantizer, from its units by perturbation and id.

    ABX of words is on one-hot frames, and on centroids or, of an invariant quantizer, on roots of posteriors; ABX of
    phones is on one-hot frames.
    """
    clean = units[CLEAN]
    perturbed = {kind: units[kind] for kind in speech.kinds}
    layer = quantizer.spec.encoder.layer

    def one_hot(token: WordToken | PhoneToken) -> NDArray[np.float32]:
        return np.eye(quantizer.num_units, dtype=np.float32)[clean[token.utterance][token.begin : token.end]]

    @cache
    def roots(utterance: str) -> NDArray[np.float32]:
        return np.asarray(np.sqrt(quantizer.posteriors(read(layer, utterance, CLEAN))), np.float32)

    def dense(token: WordToken) -> NDArray[np.float32]:
        if not isinstance(quantizer, InvariantQuantizer):
            rows: NDArray[np.float32] = quantizer.centroids[clean[token.utterance][token.begin : token.end]]
            return rows
        return roots(token.utterance)[token.begin : token.end]

    segments = {"": [one_hot(token) for token in speech.words], "dense ": [dense(token) for token in speech.words]}
    distances = {name: distance_matrix(each) for name, each in segments.items() if speech.words}
    cells = _phone_cells(speech, one_hot)
    result = SystemResult(
        ued_table(clean, perturbed, CONTROLS, speech.speakers, speech.seed),
        statistics(clean, quantizer.num_units, speech.seconds),
        discrimination(distances.get(""), speech.words, speech.seed),
        discrimination(distances.get("dense "), speech.words, speech.seed),
        {way: phone_abx(each, seed=speech.seed) for way, each in cells.items()},
    )
    return Measured(result, {kind: count_edits(clean, each) for kind, each in perturbed.items()}, distances, cells)


def compare(clusters: int, systems: Mapping[str, Measured], speech: HeldOutSpeech) -> Comparison:
    """The quantizers of one K compared with plain k-means of all seeds."""
    baselines = [measured for system, measured in systems.items() if is_baseline(system)]
    others = {system: measured for system, measured in systems.items() if not is_baseline(system)}
    return Comparison(
        clusters,
        {system: measured.result for system, measured in systems.items()},
        {system: _reductions(baselines, measured, speech) for system, measured in others.items()},
        {system: _abx_differences(baselines, measured, speech) for system, measured in others.items()},
    )


def statistics(clean: Units, clusters: int, seconds: float) -> UnitStatistics:
    """Rate, perplexity and bit rate of deduplicated units."""
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
    for way, across in WAYS.items():
        try:
            scores[way] = abx_score(distances, words, speakers, across=across, seed=seed)
        except UserError:
            continue
    return scores


def _phone_cells(
    speech: HeldOutSpeech, segment: Callable[[PhoneToken], NDArray[np.float32]]
) -> dict[str, list[PhoneCell]]:
    """Within and across speakers; none where the tokens make no triple."""
    cells: dict[str, list[PhoneCell]] = {}
    segments = [segment(token) for token in speech.phones]
    for way, across in WAYS.items() if segments else ():
        try:
            cells[way] = phone_cells(speech.phones, segments, across=across, seed=speech.seed)
        except UserError:
            continue
    return cells


def _abx_differences(
    baselines: Sequence[Measured], measured: Measured, speech: HeldOutSpeech
) -> dict[str, AbxDifference]:
    """Of words under ``within`` and ``dense within``, of phones under ``phones within``, and so on."""
    words, speakers = [token.word for token in speech.words], [token.speaker for token in speech.words]
    differences: dict[str, AbxDifference] = {}
    for kind, distances in measured.distances.items():
        for way, across in WAYS.items():
            before = [baseline.distances[kind] for baseline in baselines]
            try:
                differences[kind + way] = abx_difference(
                    before, distances, words, speakers, across=across, seed=speech.seed
                )
            except UserError:
                continue
    for way, cells in measured.cells.items():
        differences[f"phones {way}"] = phone_abx_difference(
            [baseline.cells[way] for baseline in baselines], cells, seed=speech.seed
        )
    return differences


def _reductions(baselines: Sequence[Measured], measured: Measured, speech: HeldOutSpeech) -> dict[str, UedReduction]:
    """By perturbation, and of all audible ones together; absent where the units of k-means do not change."""
    audible = [kind for kind in speech.kinds if kind not in CONTROLS]
    groups = {kind: [kind] for kind in speech.kinds} | ({"overall": audible} if audible else {})
    reductions = {
        name: ued_reduction(
            [baseline.edits[kind] for baseline in baselines for kind in kinds],
            [measured.edits[kind] for kind in kinds],
            speech.speakers,
            seed=speech.seed,
        )
        for name, kinds in groups.items()
    }
    return {name: reduction for name, reduction in reductions.items() if reduction is not None}
