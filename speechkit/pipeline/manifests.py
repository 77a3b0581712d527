"""Manifests that several stages read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from speechkit.errors import ConfigError


def manifest_of(inputs: Mapping[str, Path], name: str) -> Path:
    """The manifest of whose recordings a stage behind the first reads the audio.

    Raises:
        ConfigError: if it was given to the first stage alone.
    """
    if name not in inputs:
        raise ConfigError(
            f"{name} was set for prepare only, and this stage reads its audio; give it to all stages: {name}=FILE"
        )
    return inputs[name]
