"""Stages 5 and 6: acoustic BPE of the units, and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.pipeline import SHARED, Context, Interrupted
from speechkit.units.evaluation import FrameUnits, curve_point, score_quantizer
from speechkit.units.records import BpeCurve, CurvePoint, Fit, Systems, SystemScore, UnitsReport
from speechkit.units.stages import Count, Positive

if TYPE_CHECKING:
    from speechkit.report.unit_picture import UnitPicture
    from speechkit.units.acoustic_bpe import AcousticBpe
    from speechkit.units.sequences import UnitSequence

PARTS = ("train", "test")
PICTURE_SECONDS = 5.0


class BpeConfig(msgspec.Struct, frozen=True):
    """Acoustic BPE.

    Attributes:
        bpe_clusters: K of the codebooks whose units are merged; all if empty.
        sizes: vocabulary sizes at which the curve is measured; the largest is the size of the result.
        ngram_order: n-gram models of order 1 to this are trained on the training units and tokens of each size, and
            measured on those of the test set; 0 for none.
    """

    bpe_clusters: tuple[Positive, ...] = ()
    sizes: tuple[Positive, ...] = (250, 500, 1000, 2000)
    ngram_order: Annotated[int, msgspec.Meta(ge=0, le=6)] = 3


def shorten(context: Context) -> None:
    """Learn acoustic BPE from the training units and measure it on the test units."""
    from speechkit.units.acoustic_bpe import learn_bpe
    from speechkit.units.sequences import read_sequences

    config, systems = context.config, Systems.read(context.inputs["units"])
    chosen = [
        stream
        for system in systems.quantizers
        if not config.bpe_clusters or system.clusters in config.bpe_clusters
        for stream in systems.streams(system)
    ]
    if not chosen or not config.sizes:
        raise ConfigError("bpe: nothing to learn; bpe.bpe_clusters must be among clusters, and bpe.sizes not empty")
    curves = []
    for number, stream in enumerate(chosen):
        folder = context.inputs["units"] / stream.folder
        train, test = (read_sequences([folder / f"{part}.jsonl"]) for part in PARTS)
        most = max(*config.sizes, stream.clusters)
        bpe = learn_bpe((row.units for row in train), stream.clusters, most, train[0].codebook)
        path = context.output("merges") / f"{stream.folder}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        bpe.save(path)
        sizes = sorted({min(size, bpe.num_tokens) for size in config.sizes if size > stream.clusters})
        points = [
            _point(bpe, size, train, test, config.ngram_order, systems.frames_per_second)
            for size in (stream.clusters, *sizes)
        ]
        curves.append(BpeCurve(stream, points))
        context.progress.update(number + 1, len(chosen))
        if context.interrupted:
            raise Interrupted
    context.write("curves.jsonl", curves)


def _point(
    bpe: AcousticBpe,
    size: int,
    train: Sequence[UnitSequence],
    test: Sequence[UnitSequence],
    order: int,
    frames_per_second: float,
) -> CurvePoint:
    from speechkit.lm.sequence_bits import ngram_bits
    from speechkit.units.token_sequences import encode_sequence

    cut = msgspec.structs.replace(bpe, merges=bpe.merges[: size - bpe.base])
    tokens = [encode_sequence(row, cut) for row in test]
    point = curve_point(bpe, size, test, tokens, frames_per_second)
    if not order:
        return point
    units = sum(len(row.units) for row in test)
    bits = ngram_bits([encode_sequence(row, cut) for row in train], tokens, size, units, order)
    return msgspec.structs.replace(point, ngram_bits=bits)


class ScoreConfig(msgspec.Struct, frozen=True):
    """Scores of units.

    Attributes:
        phones_manifest: alignments of the test recordings by id, such as those of `recipes/sylber`; by default the
            alignments of the test manifest, if it has any.
        tier: tier of the alignments to compare units with: ``phone``, ``char``, ``syllable`` …
        pictures: number of test recordings to draw.
        picture_clusters: K of the drawn units and of the curve; the smallest K if there is no such codebook.
    """

    phones_manifest: Annotated[str | None, SHARED] = None
    tier: str = "phone"
    pictures: Count = 3
    picture_clusters: int = 100


def score(context: Context) -> None:
    """Score every quantizer, and write the tables and pictures."""
    from speechkit.io.atomic import write_json, write_text
    from speechkit.report.units_page import markdown, write_units_page
    from speechkit.units.frame_labels import aligned_labels
    from speechkit.units.sequences import read_frames

    config, systems = context.config, Systems.read(context.inputs["units"])
    rows = {row.id: row for row in context.read("test")}
    aligned, source = _aligned(context, rows)
    fits = msgspec.json.decode(context.inputs["fits"].read_bytes(), type=list[Fit])
    explained = {fit.system: fit.explained for fit in fits}
    scores: list[SystemScore] = []
    drawn: dict[str, FrameUnits] = {}
    measured: set[str] = set()
    sizes = [system.clusters for system in systems.quantizers]
    drawn_size = config.picture_clusters if config.picture_clusters in sizes else min(sizes)
    for number, system in enumerate(systems.quantizers, 1):
        streams = systems.streams(system)
        parts = [read_frames(context.inputs["units"] / stream.folder / "test.jsonl") for stream in streams]
        measured |= set(parts[0])
        lengths = {name: len(units) for name, units in parts[0].items()}
        rate = systems.frames_per_second
        labels = aligned_labels(aligned.values(), config.tier, lengths, source, rate) if aligned else None
        new_scores, frames = score_quantizer(streams, parts, system, explained[system], labels, rate)
        scores += new_scores
        if system.clusters == drawn_size:
            drawn[system.name] = frames
        context.progress.update(number, len(systems.quantizers))
    report = UnitsReport(
        recordings=len(measured),
        seconds=round(sum(rows[name].duration for name in measured), 2),
        speakers=len({rows[name].speaker for name in measured} - {None}),
        tier=config.tier if aligned else None,
        scores=scores,
        curves=list(context.read("curves")),
        unnamed=sum(not rows[name].speaker for name in measured),
    )
    write_json(context.output("scores.json"), report)
    write_text(context.output("table.md"), markdown(report))
    pictures = _pictures(context, rows, aligned, drawn, drawn_size)
    write_units_page(context.output("report.html"), report, pictures, clusters=drawn_size)
    health = scores[0].health
    context.main_figure = (
        f"{scores[0].system.name}: {health.bits_per_second:.0f} bits/s, perplexity {health.perplexity:.0f} of "
        f"{health.clusters}, {len(scores)} rows in the table"
    )


def _pictures(
    context: Context,
    rows: Mapping[str, Utterance],
    aligned: Mapping[str, Utterance],
    drawn: Mapping[str, FrameUnits],
    clusters: int,
) -> list[UnitPicture]:
    """Recordings of about `PICTURE_SECONDS`, those with alignments first."""
    from speechkit.report.unit_picture import Ribbon, picture_recording

    tier, ids = context.config.tier, next(iter(drawn.values()))
    order = sorted(ids, key=lambda name: (name not in aligned, abs(rows[name].duration - PICTURE_SECONDS), name))
    colours = f"K = {clusters}; equal colours are equal units of one quantizer."
    lines = f" Lines are edges of the tier {tier}."
    return [
        picture_recording(
            rows[name],
            context.inputs["test_manifest"],
            [Ribbon(system, units[name]) for system, units in drawn.items()],
            aligned=aligned.get(name, rows[name]),
            tier=tier,
            caption=colours + (lines if name in aligned else ""),
        )
        for name in order[: context.config.pictures]
    ]


def _aligned(context: Context, rows: Mapping[str, Utterance]) -> tuple[dict[str, Utterance], Path]:
    """Test recordings with the tier, from the phones manifest or the test manifest; none if there are no alignments."""
    path = context.inputs.get("phones_manifest")
    tier = context.config.tier
    source = Path(path) if path else Path(context.inputs["test_manifest"])
    candidates = context.read("phones_manifest") if path else rows.values()
    aligned = {row.id: row for row in candidates if row.id in rows and row.alignment and tier in row.alignment}
    if path and not aligned:
        raise UserError(f"{path}: no test recording has a tier {tier}; give alignments of the same ids, or score.tier")
    return aligned, source
