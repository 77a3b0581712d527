"""Settings of the last run of a folder, which `speechkit status` uses by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

LAST_RUN = ".last-run.json"


class LastRun(msgspec.Struct, frozen=True):
    """Arguments of `run_recipe`: paths of YAML files, ``key=value`` each, and values by key or section."""

    config_files: list[str]
    overrides: list[str]
    arguments: dict[str, Any]


def last_run(config_files: Sequence[Path | str], overrides: Sequence[str], arguments: Mapping[str, Any]) -> LastRun:
    """The record of a run; files by their absolute paths."""
    files = [str(Path(path).absolute()) for path in config_files]
    return LastRun(files, list(overrides), msgspec.to_builtins(dict(arguments), enc_hook=str))


def read_last_run(exp: Path) -> LastRun | None:
    """Settings of the last run; None if there was none or it cannot be read."""
    try:
        run = msgspec.json.decode((exp / LAST_RUN).read_bytes(), type=LastRun)
    except (OSError, msgspec.DecodeError):
        return None
    return run if all(Path(path).is_file() for path in run.config_files) else None
