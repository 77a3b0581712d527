"""Pictures of sound, units and words for `speechkit units draw`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from speechkit.data.audio import read_waveform
from speechkit.data.manifest import read_manifest
from speechkit.errors import AudioError, UserError
from speechkit.io.paths import safe_id
from speechkit.report.unit_picture import Ribbon, UnitPicture, write_unit_png
from speechkit.units.sequences import read_sequences

SAMPLE_RATE = 16_000


def draw_units(
    manifest: Path,
    units: Sequence[Path],
    out: Path,
    alignment: Path | None,
    ids: Sequence[str],
    limit: int,
    seconds: float,
    leave_out: Callable[[str, str], None],
) -> Iterator[Path]:
    """Write a PNG for each recording that is in all unit files.

    Args:
        manifest: the recordings.
        units: unit files, one ribbon per file.
        out: folder of the pictures.
        alignment: manifest with the tier ``word``; default: the alignments of ``manifest``.
        ids: recordings to draw; the first ones if empty.
        limit: most pictures.
        seconds: of each recording, from its beginning.
        leave_out: called with a recording that cannot be read, and the reason.

    Raises:
        UserError: if a requested recording is missing from a file, or no recording is in all files.
    """
    named = [{row.id: row.frames() for row in read_sequences([path])} for path in units]
    labels = _ribbon_names(units)
    rows = {row.id: row for row in read_manifest(manifest)}
    for name in ids:
        everywhere = [
            (manifest, set(rows)),
            *((path, set(sequences)) for path, sequences in zip(units, named, strict=True)),
        ]
        for source, known in everywhere:
            if name not in known:
                raise UserError(f"{source}: has no recording {name}; name one that is in all files")
    chosen = list(ids) or [name for name in rows if all(name in sequences for sequences in named)]
    if not chosen:
        raise UserError(f"{manifest}: no recording has units in all files; give the manifest that was encoded")
    aligned = {row.id: row for row in read_manifest(alignment)} if alignment else rows
    for name in chosen[:limit]:
        row = rows[name]
        tier = ((aligned[name].alignment if name in aligned else None) or {}).get("word", [])
        words = [(item.symbol, item.start, item.start + item.duration) for item in tier if item.start < seconds]
        cut = msgspec.structs.replace(row, duration=min(row.duration, seconds))
        try:
            waveform = read_waveform(cut, manifest)
        except AudioError as error:
            leave_out(name, str(error))
            continue
        shown = cut.duration / row.duration
        ribbons = [
            Ribbon(label, sequences[name][: max(1, round(shown * len(sequences[name])))])
            for label, sequences in zip(labels, named, strict=True)
        ]
        target = out / f"{safe_id(name)}.png"
        edges = [(start, min(end, cut.duration)) for _, start, end in words]
        write_unit_png(target, UnitPicture(name, waveform, SAMPLE_RATE, ribbons, words, edges))
        yield target


def _ribbon_names(paths: Sequence[Path]) -> list[str]:
    """Short distinct names of files: without their common folders and suffixes."""
    all_parts = [path.with_suffix("").parts for path in paths]
    if len(set(all_parts)) == 1:
        return [parts[-1] for parts in all_parts]
    shortest = min(map(len, all_parts))
    begin = next(index for index in range(shortest + 1) if len({parts[: index + 1] for parts in all_parts}) > 1)
    end = next(
        index for index in range(shortest + 1) if len({parts[len(parts) - index - 1 :] for parts in all_parts}) > 1
    )
    return ["/".join(parts[begin : len(parts) - end]) or parts[-1] for parts in all_parts]
