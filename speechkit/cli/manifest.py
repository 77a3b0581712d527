"""`speechkit manifest`: check, stats, head, split and convert."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Optional

import msgspec
import typer

from speechkit.cli.options import Json
from speechkit.data.convert import FORMATS, convert
from speechkit.data.manifest import read_manifest
from speechkit.errors import ManifestError

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, no_args_is_help=True, help="Inspect, split and convert manifests."
)

Manifest = Annotated[Path, typer.Argument(help="Manifest: JSON lines, .jsonl or .jsonl.gz.")]
Recover = Annotated[bool, typer.Option("--recover", help="Skip a truncated last line instead of failing.")]


def _torn(recover: bool) -> Any:
    return (lambda message: print(f"speechkit: {message}", file=sys.stderr)) if recover else None


def _print_json(value: Any) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _print_rows(rows: list[tuple[str, Any]]) -> None:
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        typer.echo(f"{name:{width}}  {value:.3f}" if isinstance(value, float) else f"{name:{width}}  {value}")


@app.command()
def check(
    manifest: Manifest,
    headers: Annotated[bool, typer.Option("--audio/--no-audio", help="Compare with the audio's headers.")] = True,
    samples: Annotated[
        bool,
        typer.Option(
            "--samples", help="Decode the audio too: report truncated, clipped, silent or over-full-scale audio."
        ),
    ] = False,
    json: Json = False,
    recover: Recover = False,
) -> None:
    """Check ids, times, channels and sample rates against the audio headers. Exits with 2 if there is a problem.

    Examples:
      speechkit manifest check train.jsonl

      speechkit manifest check train.jsonl.gz --no-audio --json

      speechkit manifest check train.jsonl --samples
    """
    from speechkit.data.check import check_manifest

    report = check_manifest(manifest, audio=headers, samples=samples, on_torn=_torn(recover))
    if json:
        _print_json({**msgspec.to_builtins(report), "ok": report.ok})
        raise typer.Exit(0 if report.ok else 2)
    rows: list[tuple[str, Any]] = [("rows", report.rows), ("audio files", report.audio_files)]
    rows += [(kind, count) for kind, count in report.problems.items()]
    rows += [(f"{kind} (no problem)", count) for kind, count in report.notes.items()]
    _print_rows(rows)
    for example in report.examples:
        typer.echo(example)
    if not report.ok:
        problems = sum(report.problems.values())
        raise ManifestError(f"{manifest}: {problems} problem{'s'[: problems > 1]} in {report.rows} rows, listed above")


@app.command()
def stats(manifest: Manifest, json: Json = False, recover: Recover = False) -> None:
    """Hours, utterances, speakers, languages, durations and text.

    Examples:
      speechkit manifest stats train.jsonl

      speechkit manifest stats train.jsonl --json
    """
    from speechkit.data.stats import manifest_stats

    result = manifest_stats(read_manifest(manifest, on_torn=_torn(recover)))
    if json:
        _print_json(result)
        return
    rows: list[tuple[str, Any]] = []
    for name, value in msgspec.to_builtins(result).items():
        label = name.replace("_", " ")
        if name == "hours_by_speaker":
            continue  # hundreds of rows; --json has them
        if isinstance(value, dict):
            rows += [(f"{label}: {key}", part) for key, part in value.items()]
        else:
            rows.append((label, value))
    _print_rows(rows)


@app.command()
def head(
    manifest: Manifest,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many rows.")] = 5,
    json: Json = False,
) -> None:
    """The first rows, one per line: id, start, seconds, speaker, text.

    Examples:
      speechkit manifest head train.jsonl

      speechkit manifest head train.jsonl -n 20 --json
    """
    for row in islice(read_manifest(manifest), count):
        if json:
            typer.echo(msgspec.json.encode(row).decode())
        else:
            start = f"{row.offset:.2f}+{row.duration:.2f}s"
            typer.echo(f"{row.id}  {row.audio_filepath}  {start}  {row.speaker or '-'}  {row.text or '-'}")


@app.command()
def split(
    manifest: Manifest,
    out: Annotated[Path, typer.Option("--out", help="Folder for NAME.jsonl of each split.")],
    into: Annotated[str, typer.Option(help="Shares or hours of each split.")] = "train=0.8,dev=0.1,test=0.1",
    by: Annotated[str, typer.Option(help="Keys that splits must not share: speaker, document, recording.")] = "speaker",
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    json: Json = False,
) -> None:
    """Split into parts that share no speaker (or document, or recording), reproducible by seed.

    Examples:
      speechkit manifest split all.jsonl --out splits

      speechkit manifest split all.jsonl --out splits --by speaker,document --into train=rest,dev=1h,test=30m
    """
    from speechkit.data.split import parse_targets, split_manifest

    keys = [key.strip() for key in by.split(",") if key.strip()]
    report = split_manifest(manifest, out, parse_targets(into), by=keys, seed=seed)
    if json:
        _print_json(report)
        return
    for name, file in zip(report.rows, report.files, strict=True):
        groups = f"{report.groups[name]} groups by {' and '.join(keys)}"
        typer.echo(f"{file}  {report.rows[name]} rows  {report.hours[name]:.3f} h  {groups}")
    for note in report.notes:
        typer.echo(f"note: {note}")


@app.command(name="convert")
def convert_command(
    source: Annotated[Path, typer.Argument(help="Manifest, file or folder of another format.")],
    target: Annotated[Path, typer.Argument(help="File or folder to write.")],
    source_format: Annotated[Optional[str], typer.Option("--from", help="Detected if not given.")] = None,  # noqa: UP045
    target_format: Annotated[Optional[str], typer.Option("--to", help="By suffix if not given.")] = None,  # noqa: UP045
    embed: Annotated[bool, typer.Option("--embed/--by-path", help="Parquet: audio inside or by its path.")] = True,
    json: Json = False,
) -> None:
    """Convert between formats: speechkit, nemo, lhotse, shar, webdataset, kaldi, parquet, fairseq, csv.

    What the target cannot hold is counted in the output; `speechkit manifest formats` lists it for every format.

    Examples:
      speechkit manifest convert train.jsonl data/train --to kaldi

      speechkit manifest convert cuts.jsonl.gz train.jsonl

      speechkit manifest convert train.jsonl train.parquet --by-path
    """
    options = {} if embed else {"embed": False}
    if options and target_format != "parquet" and target.suffix != ".parquet":
        raise typer.BadParameter("--by-path is for Parquet only")
    written = convert(source, target, source_format=source_format, target_format=target_format, **options)
    if json:
        _print_json(written)
        return
    _print_rows([("rows", written.rows)])
    for name, count in written.lost.items():
        typer.echo(f"lost: {name} of {count} rows")
    for field, count in written.changed.items():
        typer.echo(f"changed: {field} ({count} rows)")
    for file in written.files:
        typer.echo(file)


@app.command()
def formats(json: Json = False) -> None:
    """The formats and what each cannot hold.

    Examples:
      speechkit manifest formats

      speechkit manifest formats --json
    """
    if json:
        _print_json({name: {"is": form.description, "cannot_hold": form.cannot_hold} for name, form in FORMATS.items()})
        return
    for name, form in FORMATS.items():
        typer.echo(f"{name:10} {form.description:38} cannot hold: {form.cannot_hold}")
