"""`speechkit units bpe` and `decode`: acoustic BPE tokens of units."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from speechkit.cli.options import Json
from speechkit.cli.units_files import Quantizer, Units, print_values, read_units

Merges = Annotated[Path, typer.Option("--bpe", help="Merges written by bpe.")]


def bpe(
    units: Units,
    codebook: Quantizer,
    tokens: Annotated[int, typer.Option(min=1, help="Vocabulary size, units included.")],
    out: Annotated[Path, typer.Option(help="The merges, .json.")],
    json: Json = False,
) -> None:
    """Learn acoustic BPE: frequent pairs of units become tokens. Prints the reduction of sequence length.

    Examples:
      speechkit units bpe units.jsonl --codebook kmeans-100 --tokens 1000 --out bpe.json
    """
    from speechkit.units.acoustic_bpe import learn_bpe

    sequences, named_by = read_units(units, codebook)
    learnt = learn_bpe((row.units for row in sequences), named_by.clusters, tokens, named_by.digest)
    learnt.save(out)
    if learnt.num_tokens < tokens:
        why = "no pair of units occurs twice any more; give more speech or a smaller vocabulary"
        print(f"speechkit: {learnt.num_tokens} of {tokens} tokens were learnt: {why}", file=sys.stderr)
    curve = learnt.compression()
    shown = {len(curve) - 1} | {round(share * (len(curve) - 1)) for share in (0, 0.1, 0.25, 0.5, 0.75)}
    points = {str(curve[index][0]): round(curve[index][1], 3) for index in sorted(shown)}
    if not json:
        return print_values({f"{tokens} tokens": f"{units:.3f} units each" for tokens, units in points.items()}, json)
    return print_values({"tokens": learnt.num_tokens, "units for each token": points}, json)


def decode(
    tokens: Annotated[list[Path], typer.Argument(metavar="TOKENS...", help="Files written by encode.")],
    merges: Merges,
    out: Annotated[Path, typer.Option(help="The units, .jsonl.")],
) -> None:
    """Turn tokens of acoustic BPE back into units.

    Examples:
      speechkit units decode tokens.jsonl --bpe bpe.json --out units.jsonl
    """
    from speechkit.units.acoustic_bpe import AcousticBpe
    from speechkit.units.sequences import read_sequences, write_sequences
    from speechkit.units.token_sequences import decode_sequence

    learnt = AcousticBpe.load(merges)
    sequences = read_sequences(tokens, learnt.digest)
    count = write_sequences([out], ([decode_sequence(row, learnt)] for row in sequences))
    typer.echo(f"units of {count:,} recordings in {out}")
