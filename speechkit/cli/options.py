"""Options that several commands share, and their validation as a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from speechkit.errors import ConfigError

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Units = Annotated[list[Path], typer.Argument(metavar="UNITS...", help="Files that speechkit units assign wrote.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
Temperature = Annotated[float, typer.Option(help="Divisor of log-probabilities; 0: always the most probable unit.")]
TopK = Annotated[int, typer.Option(help="Number of most probable units to sample from; 0: all.")]
TopP = Annotated[float, typer.Option(help="Total probability of the units to sample from.")]
Seed = Annotated[int, typer.Option(help="Seed.", min=0, max=2**63 - 1)]


def settings(given: dict[str, Any], kind: Any, help_: str) -> Any:
    """Validate options as a configuration.

    Raises:
        ConfigError: if one is out of its range.
    """
    import msgspec

    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{_complaint(str(error), given)}; see {help_}") from error


def _complaint(message: str, given: Any) -> str:
    """A message of msgspec with the setting's name and value in place of its path."""
    import re

    match = re.fullmatch(r"(.*) - at `\$([^`]+)`", message, re.DOTALL)
    if match is None:
        return message
    name = ""
    for part in re.findall(r"\w+", match[2]):
        given = given[int(part)] if part.isdigit() else given[part]
        name = name if part.isdigit() else part
    if isinstance(given, dict):  # a check of the record, which names its setting
        return match[1]
    complaint = match[1].replace("`", "")
    return f"{name.replace('_', ' ')} is {given!r}: {complaint[:1].lower()}{complaint[1:]}"
