"""Shared input and output of the units commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechkit.cli.facts import print_facts

if TYPE_CHECKING:
    from speechkit.units.quantizers import UnitSet
    from speechkit.units.sequences import UnitSequence

Units = Annotated[list[Path], typer.Argument(metavar="UNITS...", help="Files written by assign.")]
Quantizer = Annotated[Path, typer.Option("--codebook", help="Folder of the codebook or quantizer.")]


def read_units(paths: list[Path], codebook: Path, merges: Path | None = None) -> tuple[list[UnitSequence], UnitSet]:
    """Units of some files, and the codebook of the quantizer that they belong to.

    With ``merges`` the files hold tokens, and the set is that of the tokens.

    Raises:
        UserError: if units, codebook and merges do not belong together.
    """
    from speechkit.errors import UserError
    from speechkit.units.acoustic_bpe import AcousticBpe
    from speechkit.units.quantizers import UnitSet, open_quantizer, unit_sets
    from speechkit.units.sequences import read_sequences

    sets = unit_sets(open_quantizer(codebook))
    if merges is not None:
        bpe = AcousticBpe.load(merges)
        rates = [candidate.frames_per_second for candidate in sets if candidate.digest == bpe.codebook]
        if not rates:
            raise UserError(f"{merges}: joins units of another codebook than {codebook}; learn merges of its units")
        return read_sequences(paths, bpe.digest), UnitSet(bpe.digest, bpe.num_tokens, rates[0])
    first = read_sequences(paths[:1])[0]
    if first.unit_durations is not None:
        raise UserError(f"{paths[0]}: holds tokens; decode them, or give their merges by --bpe if the command has it")
    named_by = next((candidate for candidate in sets if candidate.digest == first.codebook), sets[0])
    return read_sequences(paths, named_by.digest), named_by


def print_values(values: dict[str, Any], json: bool) -> None:
    """As `print_facts`; without JSON, names have spaces and numbers four digits."""
    if not json:
        values = {
            name.replace("_", " "): f"{value:,.4g}" if isinstance(value, float) else value
            for name, value in values.items()
        }
    print_facts(values, json)
