"""Named values for the shell: a line each, or JSON."""

from __future__ import annotations

from typing import Any

import typer


def print_facts(values: dict[str, Any], json: bool) -> None:
    """Print names and values in two columns, or as one JSON object."""
    import msgspec

    if json:
        typer.echo(msgspec.json.encode(values).decode())
        return
    width = max(map(len, values))
    for name, value in values.items():
        typer.echo(f"{name:{width}}  {f'{value:.4f}' if isinstance(value, float) else value}")
