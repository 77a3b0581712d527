"""Stage 6: how evenly units are used, what they cost, and what they tell of phones, on the test recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.pipeline import Context
from speechkit.pipeline.manifests import manifest_of
from speechkit.units.records import Fit, System, SystemScore, UnitsReport

from .stages import STACKED, streams, systems

if TYPE_CHECKING:
    from collections.abc import Mapping

    from speechkit.report.unit_picture import UnitPicture

Frames = dict[str, NDArray[Any]]
PICTURE_SECONDS = 5.0


def score(context: Context) -> None:
    """Judge every quantizer, and write the tables and pictures."""
    from speechkit.io.atomic import write_json, write_text
    from speechkit.report.units_page import markdown, write_units_page

    config = context.config
    if config.pictures or config.phones_manifest is None:
        manifest_of(context.inputs, "test_manifest")
    rows = {row.id: row for row in context.read("test")}
    aligned, source = _aligned(context, rows)
    fits = msgspec.json.decode(context.inputs["fits"].read_bytes(), type=list[Fit])
    explained = {fit.system: fit.explained for fit in fits}
    scores: list[SystemScore] = []
    drawn: dict[str, Frames] = {}
    heard: set[str] = set()
    wanted = config.picture_clusters if config.picture_clusters in config.clusters else min(config.clusters)
    every = systems(config)
    for number, system in enumerate(every):
        parts = [_frames(context.inputs["units"], stream) for stream in streams(system, config.codebooks)]
        heard |= set(parts[0])
        labels = _labels(aligned, config.tier, parts[0], source)
        if system.kind in STACKED:
            for stream, frames in zip(streams(system, config.codebooks), parts, strict=True):
                scores.append(judge(stream, frames, system.clusters, None, labels))
        frames, used = joined(parts, system.clusters)
        whole = system.clusters ** len(parts)
        scores.append(judge(system, frames, used or whole, explained[system], labels, whole))
        if system.clusters == wanted:
            drawn[system.name] = frames
        context.progress.update(number + 1, len(every))
    speakers = {rows[name].speaker for name in heard} - {None}
    report = UnitsReport(
        recordings=len(heard),
        seconds=round(sum(rows[name].duration for name in heard), 2),
        speakers=len(speakers),
        tier=config.tier if aligned else None,
        scores=scores,
        curves=list(context.read("curves")),
        unnamed=sum(not rows[name].speaker for name in heard),
    )
    write_json(context.output("scores.json"), report)
    write_text(context.output("table.md"), markdown(report))
    pictures = _pictures(context, rows, aligned, drawn, wanted)
    write_units_page(context.output("report.html"), report, pictures, clusters=wanted)


def _pictures(
    context: Context,
    rows: Mapping[str, Utterance],
    aligned: Mapping[str, Utterance],
    drawn: Mapping[str, Frames],
    clusters: int,
) -> list[UnitPicture]:
    """Recordings of about `PICTURE_SECONDS`, those with alignments first."""
    from speechkit.report.unit_picture import Ribbon, picture_recording

    tier, ids = context.config.tier, next(iter(drawn.values()))
    order = sorted(ids, key=lambda name: (name not in aligned, abs(rows[name].duration - PICTURE_SECONDS), name))
    colours = f"K = {clusters}; equal colours are equal units of one quantizer."
    lines = f"{colours} Lines are edges of the tier {tier}."
    return [
        picture_recording(
            rows[name],
            context.inputs["test_manifest"],
            [Ribbon(system, units[name]) for system, units in drawn.items()],
            aligned=aligned.get(name, rows[name]),
            tier=tier,
            caption=f"K = {clusters}; equal colours are equal units of one quantizer."
            + (lines if name in aligned else ""),
        )
        for name in order[: context.config.pictures]
    ]


def judge(
    system: System,
    frames: Mapping[str, NDArray[Any]],
    numbers: int,
    explained: float | None,
    labels: Mapping[str, list[str | None]] | None,
    units: int | None = None,
) -> SystemScore:
    """The score of one sequence of units a recording.

    Args:
        system: whose they are.
        frames: the unit of every frame (T,) by id, below ``numbers``.
        numbers: how many numbers there are.
        explained: see `SystemScore`.
        labels: of the same frames, by id, of some or all recordings.
        units: how many units there could be, if that is more than ``numbers``.
    """
    from speechkit.units.health import codebook_health, label_agreement

    health = codebook_health(frames.values(), numbers)
    if units is not None:
        health = msgspec.structs.replace(health, clusters=units, dead=health.dead + units - numbers)
    agreement = label_agreement([frames[name] for name in labels], list(labels.values())) if labels else None
    return SystemScore(system, explained, health, agreement)


def joined(parts: list[Frames], clusters: int) -> tuple[Frames, int | None]:
    """Units of several codebooks as one: each combination that occurs gets a number; how many there are.

    One codebook is left as it is, with None.
    """
    if len(parts) == 1:
        return parts[0], None
    names = list(parts[0])
    whole = np.zeros(sum(len(parts[0][name]) for name in names), np.int64)
    used = 0
    for part in parts:
        # Numbered anew after each codebook, so that no product overflows.
        found, whole = np.unique(whole * clusters + np.concatenate([part[name] for name in names]), return_inverse=True)
        used = len(found)
    ends = np.cumsum([len(parts[0][name]) for name in names])[:-1]
    return dict(zip(names, np.split(whole, ends), strict=True)), used


def _frames(units: Path, system: System) -> Frames:
    from speechkit.units.sequences import read_sequences

    return {row.id: row.frames() for row in read_sequences([units / system.folder / "test.jsonl"])}


def _aligned(context: Context, rows: Mapping[str, Utterance]) -> tuple[dict[str, Utterance], Path]:
    """Test recordings with the tier, from the phones manifest or their own; none where the tests have no alignment."""
    path = context.inputs.get("phones_manifest")
    tier = context.config.tier
    source = Path(path) if path else Path(context.inputs["test_manifest"])
    found = context.read("phones_manifest") if path else rows.values()
    aligned = {row.id: row for row in found if row.id in rows and row.alignment and tier in row.alignment}
    if path and not aligned:
        raise UserError(f"{path}: no test recording has a tier {tier}; give alignments of the same ids, or score.tier")
    return aligned, source


def _labels(
    aligned: Mapping[str, Utterance], tier: str, frames: Frames, source: Path
) -> dict[str, list[str | None]] | None:
    from speechkit.units.frame_labels import aligned_labels

    if not aligned:
        return None
    return aligned_labels(aligned.values(), tier, {name: len(units) for name, units in frames.items()}, source)


def read_report(path: Path) -> UnitsReport:
    """What stage 6 wrote."""
    return msgspec.json.decode(path.read_bytes(), type=UnitsReport)
