"""Page comparing separators: tables, intervals, and examples with spectrograms and audio players."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.atomic import write_json, write_text
from speechkit.metrics.separated_tracks import OpenMixture, ReferenceMixture, tracks_of
from speechkit.metrics.separation import is_silent
from speechkit.metrics.separation_comparison import SeparationScores, SystemResult
from speechkit.metrics.separation_items import IMPROVEMENT, SI_SDR, ItemResult, SourceResult
from speechkit.report.page import write_page
from speechkit.report.player import CLIP_RATE, Clip, clip_block, encode_clip, wave_outline
from speechkit.report.results import Table, Value, interval_plot
from speechkit.report.separation_tables import (
    behaviour_table,
    differences_table,
    group_tables,
    items_table,
    left_out_table,
    sentence,
    systems_table,
    tables_as,
    value_of,
    words_table,
)
from speechkit.report.slue_page import settings_table
from speechkit.report.svg import Plot, Scale, keys, shortened
from speechkit.report.unit_picture import band_levels, grey_png, spectrogram

EXAMPLES = 12
LONGEST_SECONDS = 20.0
MAX_ROWS = 300
LETTERS = 200
MAX_COLUMNS = 400
PAGE_BYTES = 300_000  # of a page without examples


class Row(msgspec.Struct, frozen=True):
    """A sound of an example: its name and description, its player and its spectrogram."""

    name: str
    note: str
    clip: Clip | None
    image: str


class Example(msgspec.Struct, frozen=True):
    """A mixture shown on the page."""

    id: str
    note: str
    rows: list[Row]


def render_separation_page(
    out_path: Path | str,
    scores: SeparationScores,
    references: Sequence[ReferenceMixture],
    estimates: Mapping[str, dict[str, list[str]]],
    *,
    title: str | None = None,
    max_megabytes: float = 8.0,
) -> Path:
    """Write the page and return its path.

    Args:
        out_path: the file, written atomically.
        scores: scores of the compared systems.
        references: the scored mixtures, in the order of the scores.
        estimates: paths of tracks by system and mixture id.
        title: heading; by default the names of the systems.
        max_megabytes: examples are added until the page is about this large.
    """
    names = [system.name for system in scores.systems]
    blocks: list[Markup] = []
    examples, failures = _examples(scores, references, estimates, blocks, int(max_megabytes * 1e6) - PAGE_BYTES)
    tables = [systems_table(scores), differences_table(scores), *group_tables(scores), behaviour_table(scores)]
    notes = [*scores.notes, *(f"an example could not be shown: {failure}" for failure in failures[:1])]
    return write_page(
        out_path,
        "separation.html",
        title=title or "Separation: " + ", ".join(names[:3]) + (" and others" if len(names) > 3 else ""),
        styles=["score.css", "separation.css"],
        figures=_figures(scores),
        lead=sentence(scores),
        plot=interval_plot(
            {s.name: value_of(s.means.get(IMPROVEMENT), IMPROVEMENT) for s in scores.systems},
            label="Improvement of SI-SDR of the systems with their intervals",
            x_title="improvement of SI-SDR over the mixture, dB",
            better="higher",
        ),
        scatter=_scatter(scores),
        tables=[table for table in tables if table is not None],
        words=words_table(scores),
        left_out=left_out_table(scores),
        items=_sources(scores),
        most_rows=MAX_ROWS,
        examples=examples,
        blocks=blocks,
        settings=settings_table(
            ("measures", ", ".join(scores.measures)),
            ("drawn", f"{scores.units:,} {scores.by}s, {scores.resamples:,} times, seed {scores.seed}"),
            *(("note", note) for note in notes),
        ),
    )


def write_separation_scores(
    out: Path,
    scores: SeparationScores,
    references: Sequence[ReferenceMixture],
    estimates: Mapping[str, dict[str, list[str]]],
    *,
    title: str | None = None,
    max_megabytes: float = 8.0,
) -> None:
    """Write ``scores.json``, ``.md``, ``.tex`` and ``.csv``, ``items.csv`` and ``report.html`` into a folder.

    Arguments are those of `render_separation_page`.
    """
    write_json(out / "scores.json", scores)
    for form in ("md", "tex", "csv"):
        write_text(out / f"scores.{form}", tables_as(scores, form))
    write_text(out / "items.csv", items_table(scores).csv())
    render_separation_page(out / "report.html", scores, references, estimates, title=title, max_megabytes=max_megabytes)


def _figures(scores: SeparationScores) -> list[tuple[str, str, str, str]]:
    best = max(scores.systems, key=_mean_improvement)
    improvement = value_of(best.means.get(IMPROVEMENT), IMPROVEMENT, signed=True)
    lost = len({item.id for item in scores.left_out})
    return [
        ("best improvement of SI-SDR", improvement.number, "dB", f"{best.name}; {improvement.ends() or 'no interval'}"),
        ("mixtures", f"{scores.mixtures:,}", "", f"{scores.seconds / 60:.1f} minutes"),
        ("lone speakers", f"{scores.lone:,}", "", "mixtures in which one source sounds"),
        ("left out", f"{lost:,}", "", "see the end of the page" if lost else "nothing"),
    ]


def _mean_improvement(system: SystemResult) -> float:
    mean = system.means.get(IMPROVEMENT)
    return -np.inf if mean is None else mean.value


def _scatter(scores: SeparationScores) -> Markup | None:
    """SI-SDR improvement against the SI-SDR of the mixture: a dot per source and system."""
    dots = [
        (number, system.name, item, source.before[SI_SDR], source.values[IMPROVEMENT])
        for number, system in enumerate(scores.systems)
        for item in system.items
        if not item.lone
        for source in item.sources
        if source.values
    ]
    if len(dots) < 2:
        return None
    mixture_sdr, improvements = [dot[3] for dot in dots], [dot[4] for dot in dots]
    plot = Plot(
        Scale(min(mixture_sdr) - 1, max(mixture_sdr) + 1), Scale(min(0.0, *improvements) - 1, max(improvements) + 1)
    )
    stride = max(1, len(dots) // 2000)
    for number, name, item, x, y in dots[::stride]:
        plot.dots([(x, y)], f"dot c{number % 6}", f"{name}, {item.id}: {y:+.1f} dB")
    drawn = plot.draw(
        label="Improvement of each source against the SI-SDR of the mixture",
        x_title="SI-SDR of the mixture, dB",
        y_title="improvement, dB",
    )
    return keys([(f"b{number % 6}", system.name) for number, system in enumerate(scores.systems)]) + drawn


def _sources(scores: SeparationScores) -> Table:
    """A row per source: its SI-SDR in the mixture, and the improvement by each system."""
    rows: list[list[object]] = []
    for beside in zip(*(system.items for system in scores.systems), strict=True):
        for index in range(max(len(item.sources) for item in beside)):
            sources = [item.sources[index] if index < len(item.sources) else None for item in beside]
            known = next(source for source in sources if source is not None)
            rows.append(
                [
                    shortened(beside[0].id, 60),
                    index + 1,
                    known.speaker,
                    Value(known.before.get(SI_SDR), digits=1),
                    *(_gain(source) for source in sources),
                ]
            )
    columns = ["mixture", "source", "speaker", "mixture's SI-SDR dB", *(f"{s.name} dB" for s in scores.systems)]
    return Table(columns, rows, "Improvement of SI-SDR of every source; of a silent one the level of its track")


def _gain(source: SourceResult | None) -> Value:
    if source is None:
        return Value(None)
    if source.leaked_db is not None:
        return Value(source.leaked_db, digits=1, emphasis="weak", note="level of the track of a silent source")
    value = source.values.get(IMPROVEMENT)
    return Value(value, digits=1, signed=True, emphasis="strong" if value is not None and value < 0 else "none")


def _examples(
    scores: SeparationScores,
    references: Sequence[ReferenceMixture],
    estimates: Mapping[str, dict[str, list[str]]],
    blocks: list[Markup],
    max_bytes: int,
) -> tuple[list[Example], list[str]]:
    """The worst, middle and best mixtures of the first system, and single speakers, up to the size limit."""
    examples: list[Example] = []
    failures: list[str] = []
    remaining = max_bytes
    for index in _chosen(scores.systems[0].items):
        try:
            example, example_blocks, size = _example(scores, references[index], index, estimates, len(blocks))
        except UserError as error:
            failures.append(str(error))
            continue
        if size <= remaining:
            remaining -= size
            blocks += example_blocks
            examples.append(example)
    return examples, failures


def _chosen(items: Sequence[ItemResult]) -> list[int]:
    def improvement(index: int) -> float:
        return float(np.mean([source.values.get(IMPROVEMENT, 0.0) for source in items[index].sources]))

    overlapped = sorted((p for p, item in enumerate(items) if not item.lone), key=lambda p: (improvement(p), p))
    lone = [p for p, item in enumerate(items) if item.lone]
    third = EXAMPLES // 3
    middle = len(overlapped) // 2
    picked = [*overlapped[:third], *overlapped[middle : middle + third // 2], *overlapped[-third:][::-1], *lone[:third]]
    return list(dict.fromkeys(picked))


def _example(
    scores: SeparationScores,
    reference: ReferenceMixture,
    item_index: int,
    estimates: Mapping[str, dict[str, list[str]]],
    number: int,
) -> tuple[Example, list[Markup], int]:
    """A mixture with its sources and tracks of all systems, the blocks of their clips, and their size in bytes."""
    sounds: list[tuple[str, str, NDArray[np.float32]]] = []
    rate = reference.mixture.sample_rate
    for system in scores.systems:
        tracks = tracks_of(estimates[system.name], reference) or []
        opened = OpenMixture(reference, tracks, LONGEST_SECONDS)
        mixed, sources, separated = opened.read(0, round(LONGEST_SECONDS * rate))
        item = system.items[item_index]
        if not sounds:
            sounds.append(("mixture", "", mixed))
            for index, source in enumerate(sources):
                sounds.append((f"source {index + 1}", _source_note(reference, item.sources[index], index), source))
        for index, source in enumerate(item.sources):
            if source.track is not None:
                note = _track_note(source, index)
                sounds.append((f"{system.name}, track {source.track + 1}", note, separated[source.track]))
    loudest = float(band_levels(sounds[0][2], rate).max())  # of the mixture, so that a quiet track looks quiet
    rows: list[Row] = []
    blocks: list[Markup] = []
    size = 0
    for name, note, waveform in sounds:
        image = _image(waveform, rate, loudest)
        identifier = f"clip-{number + len(blocks) + 1}"
        clip = None
        if not is_silent(waveform):
            resampled = _at_clip_rate(waveform, rate)
            block = clip_block(identifier, encode_clip(resampled))
            seconds = len(resampled) / CLIP_RATE
            clip = Clip(identifier, wave_outline(resampled), seconds, [(f"{name}. {note}"[:LETTERS], 0.0, seconds)])
            blocks.append(block)
            size += len(block)
        rows.append(Row(name, note, clip, image))
        size += len(image) + 3000
    seconds = reference.mixture.duration
    shown = "" if seconds <= LONGEST_SECONDS else f", the first {LONGEST_SECONDS:g} s"
    return Example(shortened(reference.id, 80), f"{seconds:.1f} s{shown}", rows), blocks, size


def _source_note(reference: ReferenceMixture, source: SourceResult, index: int) -> str:
    parts = [f"speaker {source.speaker}" if source.speaker else ""]
    if source.before:
        parts.append(f"{source.before[SI_SDR]:+.1f} dB in the mixture")
    texts = reference.texts or []
    parts.append(shortened(texts[index], LETTERS) if index < len(texts) else "")
    return "; ".join(part for part in parts if part)


def _track_note(source: SourceResult, index: int) -> str:
    if source.leaked_db is not None:
        return f"no speaker: {source.leaked_db:.0f} dB relative to the mixture"
    note = f"of source {index + 1}: SI-SDR {source.values[SI_SDR]:.1f} dB, {source.values[IMPROVEMENT]:+.1f} dB"
    if source.words is not None:
        errors = f"{source.words.counts.errors} errors, {source.words.leaked} leaked words"
        note += f"; heard “{shortened(source.words.heard, LETTERS)}” ({errors})"
    return note


def _image(waveform: NDArray[np.float32], rate: int, loudest: float) -> str:
    """The spectrogram as a base64 PNG, at half resolution and in 16 shades to compress well."""
    image = spectrogram(waveform, rate, loudest)
    columns = np.linspace(0, image.shape[1] - 1, min(image.shape[1], MAX_COLUMNS)).astype(int)
    return base64.b64encode(grey_png(image[::2, columns] // 16 * 17)).decode()


def _at_clip_rate(waveform: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    if rate == CLIP_RATE:
        return waveform
    import soxr

    return np.asarray(soxr.resample(waveform, rate, CLIP_RATE), np.float32)
