"""`speechkit units ngram` and `perplexity`: n-gram models of units."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from speechkit.cli.lm import Smoothing
from speechkit.cli.options import Json
from speechkit.cli.units_files import Quantizer, Units, print_values, read_units


def ngram(
    units: Units,
    codebook: Quantizer,
    out: Annotated[Path, typer.Option(help="Folder of the model.")],
    merges: Annotated[Path | None, typer.Option("--bpe", help="The merges, if the files hold tokens.")] = None,
    dev: Annotated[list[Path] | None, typer.Option(help="Units of other recordings, to measure on.")] = None,
    order: Annotated[int, typer.Option(min=1, max=6, help="Longest n-gram.")] = 3,
    smoothing: Annotated[Smoothing, typer.Option(help="Smoothing of unseen n-grams.")] = "auto",
    json: Json = False,
) -> None:
    """Train an n-gram model of units or tokens; with --dev, print its perplexity on other recordings.

    Bits per unit and per second include the ends of recordings. Only bits per second are comparable between units and
    tokens, or between codebooks.

    Examples:
      speechkit units ngram train.jsonl --codebook kmeans-100 --order 3 --dev dev.jsonl --out trigram

      speechkit units ngram tokens.jsonl --codebook kmeans-100 --bpe bpe.json --dev dev-tokens.jsonl --out trigram
    """
    from speechkit.errors import UserError
    from speechkit.io.atomic import write_json
    from speechkit.io.hashing import digest_file
    from speechkit.lm.ngram_training import estimate, write_arpa
    from speechkit.lm.sequence_bits import sequence_bits, unit_words
    from speechkit.lm.unit_ngram import MODEL_FILE, SPEC_FILE, NgramSpec

    sequences, named_by = read_units(units, codebook, merges)
    held_out, _ = read_units(dev, codebook, merges) if dev else ([], None)
    taught = {row.id for row in sequences}
    if both := next((row.id for row in held_out if row.id in taught), None):
        raise UserError(f"--dev: {both!r} is training data too; give held-out recordings")
    model, used = estimate(map(unit_words, sequences), order, smoothing)
    path = out / MODEL_FILE
    write_arpa(model, path)
    spec = NgramSpec(order, used, named_by.digest, named_by.clusters, named_by.frames_per_second, digest_file(path))
    write_json(out / SPEC_FILE, spec)
    facts = {
        "order": order,
        "smoothing": used,
        "n-grams": len(model.entries),
        "training units": sum(len(row.units) for row in sequences),
    }
    if held_out:
        facts |= msgspec.to_builtins(sequence_bits(model, held_out, named_by.clusters, named_by.frames_per_second))
    print_values({**facts, "folder": str(out)}, json)


def perplexity(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder written by ngram.")],
    units: Annotated[list[Path], typer.Argument(metavar="UNITS...", help="Files of its units or tokens.")],
    json: Json = False,
) -> None:
    """Perplexity, bits per unit and bits per second of an n-gram model on recordings.

    Examples:
      speechkit units perplexity trigram test.jsonl
    """
    from speechkit.lm.sequence_bits import sequence_bits
    from speechkit.lm.unit_ngram import read_unit_ngram
    from speechkit.units.sequences import read_sequences

    read, spec = read_unit_ngram(model)
    sequences = read_sequences(units, spec.codebook)
    print_values(msgspec.to_builtins(sequence_bits(read, sequences, spec.units, spec.frames_per_second)), json)
