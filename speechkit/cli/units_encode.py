"""`speechkit units encode`, `convert` and `known`: speech to manifests with units, and unit formats of other tools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechkit.cli.facts import print_facts
from speechkit.cli.left_out import LeftOut, expand_folders
from speechkit.cli.options import Json

if TYPE_CHECKING:
    from speechkit.data.records import Utterance
    from speechkit.units.tokenizer import Units
from speechkit.units.tokenizer_spec import TokenizerSpec

WAYS = ("manifest", "slamkit", "slamkit-tokens", "textless", "fairseq", "parquet", "shards")


def encode(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="AUDIO|FOLDER|MANIFEST|UNITS...", help="Speech, or units for --bpe.")
    ],
    out: Annotated[Path, typer.Option(help="Manifest with units, .jsonl; or tokens.")],
    tokenizer: Annotated[
        str,
        typer.Option(
            "--codebook", "--tokenizer", help="embedded-100 (default) or such, a published codebook, or a folder."
        ),
    ] = "",
    encoder: Annotated[str, typer.Option(help="Folder or hub id of the encoder, if the codebook needs it.")] = "",
    folder: Annotated[Path | None, typer.Option(help="Folder of the file of a published codebook.")] = None,
    merges: Annotated[Path | None, typer.Option("--bpe", help="Merges written by bpe, for tokens.")] = None,
    every_frame: Annotated[bool, typer.Option("--every-frame", help="One unit per frame, no deduplication.")] = False,
    split: Annotated[str, typer.Option(help="Split of all rows, such as train; unchanged if empty.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    json: Json = False,
) -> None:
    """Turn speech into a manifest with units and durations, or units into tokens of acoustic BPE.

    Examples:
      speechkit units encode train.jsonl --out units.jsonl

      speechkit units encode talk.mp3 --codebook kmeans-500 --encoder hubert-base --out units.jsonl

      speechkit units encode train.jsonl --codebook hubert-base-ls960/9/km500 --folder downloads --out units.jsonl

      speechkit units encode units.jsonl --bpe bpe.json --out tokens.jsonl
    """
    from speechkit.errors import ConfigError, UserError

    if not tokenizer and merges is not None:
        given = {
            "--encoder": encoder, "--folder": folder, "--every-frame": every_frame, "--split": split,
            "--device": device != "auto", "--json": json,
        }  # fmt: skip
        if idle := [name for name, value in given.items() if value]:
            raise ConfigError(
                f"{idle[0]} has no effect on units that become tokens; leave it out, or encode speech by --codebook too"
            )
        return _encode_units(inputs, merges, out)
    from speechkit.data.manifest import rebase
    from speechkit.data.recordings import read_cuts, require_unique_ids
    from speechkit.io.paths import refuse_inputs
    from speechkit.units.tokenizer import DEFAULT, load_tokenizer
    from speechkit.units.unit_manifest import encode_rows, write_unit_manifest

    inputs = expand_folders(inputs)
    for path in inputs:
        if not path.is_file():
            raise UserError(f"{path}: no such file; give a manifest, recordings or folders of them")
    refuse_inputs(out, inputs)
    require_unique_ids(inputs)
    loaded = load_tokenizer(
        tokenizer or DEFAULT,
        encoder=encoder or None,
        folder=folder,
        bpe=merges,
        deduplicate=not every_frame,
        device=device,
    )
    left_out = LeftOut()
    totals = {"units": 0, "seconds": 0.0}

    def rows() -> Iterator[Utterance]:
        import msgspec

        def cuts() -> Iterator[tuple[Utterance, Path]]:
            for row, manifest in read_cuts(inputs, lambda path, error: left_out.add(path, str(error))):
                moved = next(iter(rebase([row], manifest.parent, out.parent)))
                custom = {**(row.custom or {}), "split": split} if split else row.custom
                yield msgspec.structs.replace(moved, custom=custom), out

        for row in encode_rows(loaded, cuts(), left_out.add):
            totals["units"] += len(row.units or ())
            totals["seconds"] += row.duration
            yield row
        if not totals["units"]:  # raised here, so that an earlier manifest stays as it was
            left_out.end(0)

    count = write_unit_manifest(out, rows(), loaded.spec)
    rate = totals["units"] / totals["seconds"]
    print_facts(
        {"manifest": str(out), "recordings": count, **totals, "units_per_second": rate, "dropped": left_out.reasons},
        json,
    )
    return left_out.end(count)


def _encode_units(paths: list[Path], merges: Path, out: Path) -> None:
    from speechkit.units.acoustic_bpe import AcousticBpe
    from speechkit.units.sequences import read_sequences, write_sequences
    from speechkit.units.token_sequences import encode_sequence

    learnt = AcousticBpe.load(merges)
    tokens = [encode_sequence(row, learnt) for row in read_sequences(paths, learnt.codebook)]
    write_sequences([out], ([row] for row in tokens))
    count, long = sum(len(row.units) for row in tokens), sum(len(row.unit_durations or ()) for row in tokens)
    typer.echo(f"{long:,} units of {len(tokens):,} recordings are {count:,} tokens in {out}")


def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A manifest with units, or a format listed below.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="File, or folder of shards.")],
    to: Annotated[str, typer.Option(help=f"{', '.join(WAYS)}.")],
    like: Annotated[
        Path | None,
        typer.Option(help="Spec of the units: a manifest with units, a codebook, or a name such as embedded-100."),
    ] = None,
    embed: Annotated[bool, typer.Option("--embed", help="Put the audio into Parquet.")] = False,
) -> None:
    """Convert manifests with units to and from formats of other toolkits.

    Input: manifests with units, slamkit's and TWIST's JSON lines (features and tokens), textlesslib's and fairseq's
    lines, Parquet and shards. Formats without a spec need --like.

    Examples:
      speechkit units convert units.jsonl features.jsonl --to slamkit

      speechkit units convert units.jsonl train.parquet --to parquet --embed

      speechkit units convert quantized.txt units.jsonl --to manifest --like embedded-100

      speechkit units convert units.jsonl shards --to shards
    """
    from speechkit.data.formats.parquet import write_parquet
    from speechkit.data.manifest import rebase
    from speechkit.errors import ConfigError, UserError
    from speechkit.io.atomic import write_json
    from speechkit.units.token_shards import write_shards
    from speechkit.units.unit_manifest import spec_path, units_of, write_unit_manifest
    from speechkit.units.unit_text import write_fairseq, write_slamkit, write_textless

    if to not in WAYS:
        raise ConfigError(f"--to is {to!r}; choose {', '.join(WAYS)}")
    if embed and to != "parquet":
        raise ConfigError(f"--embed is for --to parquet, not {to}; leave it out")
    if like is not None and source.is_dir():
        raise ConfigError(f"--like: shards hold the spec of their units; leave it out for {source}")
    if source.resolve() == target.resolve():
        raise UserError(f"{target}: is the source itself; choose another target")
    base = target if to == "shards" else target.parent
    spec, rows, folder = _read(source, like, base)
    moved = rebase(rows, folder, base)

    def pairs() -> Iterator[tuple[Utterance, Units]]:
        for row in moved:
            try:
                yield row, units_of(row, spec)
            except UserError as error:
                raise UserError(f"{source}: {error}") from error

    if to == "manifest":
        count = write_unit_manifest(target, (row for row, _ in pairs()), spec)
    elif to == "parquet":
        count = write_parquet((row for row, _ in pairs()), target, base, embed=embed).rows
        write_json(spec_path(target.with_suffix(".jsonl")), spec)
    elif to == "shards":
        count = write_shards(target, pairs(), spec)
    elif to == "textless":
        count = write_textless(target, pairs())
    elif to == "fairseq":
        count = write_fairseq(target, pairs())
    else:
        count = write_slamkit(target, pairs(), tokens=to == "slamkit-tokens")
    typer.echo(f"units of {count:,} recordings in {target}")


def _read(source: Path, like: Path | None, target: Path) -> tuple[TokenizerSpec, Iterator[Utterance], Path]:
    """Spec and rows of any format, and the folder to which audio paths are relative."""
    from speechkit.data.manifest import read_manifest
    from speechkit.units.token_shards import read_index, read_shards
    from speechkit.units.unit_text import detect_text, read_lines, read_slamkit

    if source.is_dir():
        return read_index(source).spec, read_shards(source), source
    if source.suffix == ".parquet":
        from speechkit.data.formats.parquet import read_parquet

        return _spec_like(like, source.with_suffix(".jsonl")), read_parquet(source, target), target
    kind = "manifest" if source.suffix == ".gz" else detect_text(source)
    spec = _spec_like(like, source if kind == "manifest" else None)
    if kind == "manifest":
        return spec, read_manifest(source), source.parent
    return spec, (read_slamkit if kind == "slamkit" else read_lines)(source, spec), Path()


def _spec_like(like: Path | None, beside: Path | None) -> TokenizerSpec:
    from speechkit.errors import ConfigError
    from speechkit.units.quantizers import open_quantizer
    from speechkit.units.tokenizer import tokenizer_spec
    from speechkit.units.unit_manifest import read_tokenizer_spec

    if like is None:
        if beside is None:
            raise ConfigError("--like is missing; give a manifest with such units, or a codebook")
        return read_tokenizer_spec(beside)
    if like.name.endswith((".jsonl", ".jsonl.gz")):
        return read_tokenizer_spec(like)
    return tokenizer_spec(str(like), open_quantizer(like))


def known(json: Json = False) -> None:
    """List the published codebooks known by name, with source, encoder, layer and grid.

    Examples:
      speechkit units known
    """
    import msgspec

    from speechkit.units.known_codebooks import KNOWN

    listed: dict[str, Any] = {
        name: msgspec.to_builtins(codebook)
        if json
        else f"{codebook.encoder} layer {codebook.layer}, {codebook.frames_per_second:g} Hz, "
        f"{'stock' if codebook.compat else 'hop'} grid: {codebook.url}"
        for name, codebook in KNOWN.items()
    }
    print_facts(listed, json)
