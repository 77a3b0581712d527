"""With which settings a folder was run last: what `speechkit status` looks with where none are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

LAST_RUN = ".last-run.json"


class LastRun(msgspec.Struct, frozen=True):
    """What was given to `run_recipe`: paths of YAML files, ``key=value`` each, and values by key or section."""

    config_files: list[str]
    overrides: list[str]
    arguments: dict[str, Any]


def last_run(config_files: Sequence[Path | str], overrides: Sequence[str], arguments: Mapping[str, Any]) -> LastRun:
    """The record of a run; files by their absolute paths."""
    files = [str(Path(path).absolute()) for path in config_files]
    return LastRun(files, list(overrides), msgspec.to_builtins(dict(arguments), enc_hook=str))


def read_last_run(exp: Path) -> LastRun | None:
    """What a folder was run with last; None where it was not, or nobody can read it."""
    try:
        run = msgspec.json.decode((exp / LAST_RUN).read_bytes(), type=LastRun)
    except (OSError, msgspec.DecodeError):
        return None
    return run if all(Path(path).is_file() for path in run.config_files) else None
