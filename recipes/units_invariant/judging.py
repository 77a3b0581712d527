"""Compare quantizers on unseen speakers: stage 6 and its settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from speechkit.augment.perturbations import CLEAN
from speechkit.encoders.probing.phone_abx import load_fastabx, phones_of, select_phones
from speechkit.encoders.probing.word_tokens import WordConfig, select_tokens, words_of
from speechkit.encoders.store import FeatureStore
from speechkit.errors import MissingExtraError
from speechkit.pipeline import Context
from speechkit.units.invariant.records import (
    BASELINE,
    INVARIANT,
    Comparison,
    InvariantReport,
    Plan,
    is_baseline,
    size_folder,
)
from speechkit.units.invariant.versions import version

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from speechkit.data.records import Utterance
    from speechkit.encoders.probing.phone_abx import PhoneToken
    from speechkit.encoders.probing.word_tokens import WordToken
    from speechkit.report.unit_picture import UnitPicture
    from speechkit.units.invariant.comparison import HeldOutSpeech, Measured, Units

MOST_PHONES = 6000
"""Phones that ABX compares, of whole utterances."""
PICTURES, PICTURE_SECONDS, PICTURE_KIND, PICTURE_CLUSTERS = 3, 5.0, "pitch", 100
"""Test recordings that are drawn: how many, how long, under which perturbation beside clean, and of which K."""


class EvaluateConfig(msgspec.Struct, frozen=True):
    """Decodings that are compared.

    Attributes:
        switch_penalties: further switch penalties, in nats, at which the invariant quantizers are decoded too.
    """

    switch_penalties: tuple[Annotated[float, msgspec.Meta(ge=0)], ...] = ()


def evaluate(context: Context) -> None:
    """Compare the quantizers of every K."""
    from speechkit.io.atomic import write_json, write_text
    from speechkit.report.invariant_units_page import markdown, write_invariant_units_page
    from speechkit.units.invariant.comparison import compare

    plan = Plan.read(context.inputs["teachers"])
    rows = {row.id: row for row in context.read("test")}
    words = {row.id: row for row in context.read("words")}
    store = FeatureStore(context.inputs["features"], plan.layer, "test")
    rate, tokens = store.spec.frame_rate, WordConfig()
    spoken = [token for row in words.values() for token in words_of(row, tokens, rate)]
    phones, without_phones = _phones(words.values(), rate, context.seed)
    if without_phones:
        context.say(f"no ABX of phones: {without_phones}")
    speech = _held_out_speech(store, rows, select_tokens(spoken, tokens, context.seed), phones, context.seed)
    comparisons: list[Comparison] = []
    drawn: dict[int, dict[str, dict[str, Units]]] = {}
    for clusters, systems, units in _measured(context, plan, speech):
        drawn[clusters] = units
        comparisons.append(compare(clusters, systems, speech))
    report = InvariantReport(
        encoder=store.spec.model,
        layer=plan.layer,
        utterances=len(speech.ids),
        seconds=round(speech.seconds, 2),
        speakers=len(set(speech.speakers.values())),
        word_tokens=len(speech.words),
        phone_tokens=len(speech.phones),
        comparisons=comparisons,
        unnamed=len(speech.ids) - len(speech.speakers),
        without_phones=without_phones,
    )
    write_json(context.output("scores.json"), report)
    write_text(context.output("table.md"), markdown(report))
    chosen = PICTURE_CLUSTERS if PICTURE_CLUSTERS in drawn else min(drawn)
    pictures = _pictures(context, rows, words, drawn[chosen], chosen)
    write_invariant_units_page(context.output("report.html"), report, pictures)
    reductions = [
        f"K = {each.clusters} {name}: {-table['overall'].reduction:+.0%}"
        for each in comparisons
        for name, table in each.reductions.items()
        if "overall" in table
    ]
    context.main_figure = f"unit edit distance compared with k-means: {'; '.join(reductions)}"


def _phones(rows: Iterable[Utterance], frame_rate: float, seed: int) -> tuple[list[PhoneToken], str]:
    """Tokens of phone ABX, or why there are none."""
    tokens = select_phones((token for row in rows for token in phones_of(row, frame_rate)), MOST_PHONES, seed)
    if not tokens:
        return [], "no test recording has times of phones; words.phones=true aligns them (extra align)"
    try:
        load_fastabx()
    except MissingExtraError as error:
        return [], str(error)
    return tokens, ""


def _held_out_speech(
    store: FeatureStore,
    rows: Mapping[str, Utterance],
    words: Iterable[WordToken],
    phones: Iterable[PhoneToken],
    seed: int,
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
        [token for token in words if token.utterance in lengths and token.end <= lengths[token.utterance]],
        [token for token in phones if token.utterance in lengths and token.end <= lengths[token.utterance]],
        seed,
    )


def _measured(
    context: Context, plan: Plan, speech: HeldOutSpeech
) -> Iterator[tuple[int, dict[str, Measured], dict[str, dict[str, Units]]]]:
    """For each K the measurements of every quantizer, and the units of those that are drawn."""
    from speechkit.units.invariant.comparison import assign_versions, measure, with_penalties
    from speechkit.units.quantizers import load_quantizer

    quantizers: dict[tuple[int, str], Any] = {
        (clusters, system): load_quantizer(folder)
        for clusters in plan.clusters
        for system, folder in _folders(context, plan, clusters).items()
    }
    quantizers |= with_penalties(quantizers, context.config.switch_penalties)
    stores = {
        name: FeatureStore(context.inputs["features"], int(name), "test")
        for name in {quantizer.spec.encoder.layer for quantizer in quantizers.values()}
    }
    for (clusters, system), quantizer in quantizers.items():
        quantizer.check(stores[quantizer.spec.encoder.layer].spec, f"{system} of K {clusters}")

    def read(layer: str, item: str, kind: str) -> NDArray[Any]:
        return stores[layer][version(item, kind)]

    units = assign_versions(quantizers, read, speech)
    for clusters in plan.clusters:
        measured: dict[str, Measured] = {}
        for key in (key for key in quantizers if key[0] == clusters):
            measured[key[1]] = measure(units[key], quantizers[key], read, speech)
            overall = measured[key[1]].result.ued.overall
            ued = overall.ued if overall else float("nan")
            context.log(f"K {clusters}, {key[1]}: UED {ued:.3f}")
        drawn = [system for system in measured if system == BASELINE or not is_baseline(system)]
        yield clusters, measured, {system: units[clusters, system] for system in drawn}


def _folders(context: Context, plan: Plan, clusters: int) -> dict[str, Path]:
    """The quantizers of one K by name, the baselines first."""
    size = size_folder(clusters)
    folders = {name: context.inputs["codebooks"] / size / name for name in plan.baseline_names}
    return folders | {INVARIANT: context.inputs["quantizers"] / size}


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
    kinds = [kind for kind in (CLEAN, PICTURE_KIND) if kind in first]
    order = sorted(first[CLEAN], key=lambda name: (name not in words, abs(rows[name].duration - PICTURE_SECONDS)))
    return [
        picture_recording(
            rows[name],
            context.inputs["test_manifest"],
            [Ribbon(f"{system}, {kind}", each[kind][name]) for system, each in units.items() for kind in kinds],
            aligned=words.get(name),
            caption=f"K = {clusters}; equal colours are equal units of one quantizer. Lines are word boundaries.",
        )
        for name in order[:PICTURES]
    ]
