"""`speechkit export`: a manifest in formats of other tools, clips, splits and a data card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from speechkit.mining.export import Exported

EXAMPLES = """
Write a manifest in other formats, each into OUT/FORMAT: lhotse, shar, webdataset, kaldi, parquet, fairseq, nemo, csv,
ctm, textgrid, srt and card.

What a format cannot hold is counted and shown. With --clips every utterance becomes one audio file and the formats
are written from the clips (an interrupted run resumes). With --split the formats are written for each of train, dev and
test, which share no document, recording or speaker.

Examples:

  speechkit export mined/manifest.jsonl --to ctm,textgrid,srt --out exported

  speechkit export mined/manifest.jsonl --to lhotse,kaldi --clips flac --out corpus

  speechkit export mined/manifest.jsonl --to parquet --split train=0.9,test=0.1 --out hub

  speechkit export mined/manifest.jsonl --to card --out card --json
"""


def export(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Utterances as JSON lines.")],
    out: Annotated[Path, typer.Option(help="The folder to write to.")],
    to: Annotated[list[str] | None, typer.Option(help="Formats, comma-separated; repeatable.")] = None,
    clips: Annotated[str, typer.Option(help="Cut clips: none, flac or opus.")] = "none",
    sample_rate: Annotated[
        int | None, typer.Option(help="Sample rate of the clips in Hz; by default the recording's.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Shares or hours: train=0.8,dev=0.1,test=0.1 or train=rest,test=1h.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    by_path: Annotated[bool, typer.Option("--by-path", help="Parquet: audio by path instead of embedded.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Export MANIFEST."""
    from speechkit.data.split import parse_targets, write_splits
    from speechkit.errors import UserError
    from speechkit.mining.export import FORMATS, cut_clips, split_without_leak
    from speechkit.mining.export import export as export_all

    forms = [part.strip() for given in to or [] for part in given.split(",") if part.strip()]
    unknown = [form for form in forms if form not in FORMATS]
    if unknown:
        raise UserError(f"--to {','.join(unknown)}: unknown; choose from {', '.join(FORMATS)}")
    if clips not in ("none", "flac", "opus"):
        raise UserError(f"--clips {clips}: choose none, flac or opus")
    if not forms and clips == "none" and split is None:
        raise UserError(f"nothing to do: give --to with some of {', '.join(FORMATS)}, --clips or --split")
    targets = {} if split is None else parse_targets(split)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    if clips != "none":
        manifest = cut_clips(manifest, out, format=clips, sample_rate=sample_rate)  # type: ignore[arg-type]
        rows.append({"form": f"clips ({clips})", "utterances": _count(manifest), "files": [str(manifest)]})
    parts = {"": manifest}
    if targets:
        partition = split_without_leak(manifest, targets, seed)
        notes = partition.notes
        parts = {name: out / name / "manifest.jsonl" for name in targets}
        for name, count in write_splits(manifest, partition, parts).items():
            rows.append({"form": f"split {name}", "utterances": count, "files": [str(parts[name])]})
    for name, part in parts.items():
        if forms:
            rows += [_row(name, done) for done in export_all(part, out / name, forms, embed=not by_path)]
    typer.echo(_json(rows, notes) if json else _table(rows, notes))


export.__doc__ = EXAMPLES


def _count(manifest: Path) -> int:
    from speechkit.data import Utterance, read_manifest

    return sum(1 for _ in read_manifest(manifest, Utterance))


def _row(part: str, done: Exported) -> dict[str, Any]:
    return {
        "form": f"{part} {done.format}".strip(),
        "utterances": done.utterances,
        "files": done.files,
        "cannot_hold": done.lost,
        "changed": done.changed,
    }


def _json(rows: list[dict[str, Any]], notes: list[str]) -> str:
    import msgspec

    return msgspec.json.encode({"exported": rows, "notes": notes}).decode()


def _table(rows: list[dict[str, Any]], notes: list[str]) -> str:
    width = max(len(row["form"]) for row in rows)
    lines = [f"{'format'.ljust(width)}  utterances  files"]
    for row in rows:
        files = row["files"]
        shown = files[0] if len(files) == 1 else f"{len(files)} files in {Path(files[0]).parent}" if files else ""
        lines.append(f"{row['form'].ljust(width)}  {row['utterances']:>10,}  {shown}")
        for kind in ("cannot_hold", "changed"):
            for item, count in row.get(kind, {}).items():
                lines.append(f"{' ' * width}  {kind.replace('_', ' ')}: {item} ({count:,})")
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])
