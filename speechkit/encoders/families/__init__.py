"""Families of encoders, one file each; a file registers its loader by model type or name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from speechkit.encoders.model import SpeechEncoder
from speechkit.errors import UserError


class Load(Protocol):
    """Builds an encoder from a checkpoint.

    A checkpoint may lack weights above ``layer``, if given; ``compat`` selects the frames of the stock computation.
    Raises UserError if it cannot be loaded.
    """

    def __call__(self, name: str, layer: int | None, compat: bool) -> SpeechEncoder:
        """The encoder of a hub id or folder, with all layers."""


@dataclass(frozen=True)
class Family:
    """Loader of a family; without weights its name is the encoder."""

    name: str
    load: Load
    has_weights: bool


_families: dict[str, Family] = {}


def register(*names: str, has_weights: bool = True) -> Callable[[Load], Load]:
    """Register a function as the loader of families.

    Args:
        names: ``model_type`` of their ``config.json``; of families without weights, the name for `load_encoder`.
        has_weights: whether there is a checkpoint.
    """

    def registered(load: Load) -> Load:
        _families.update({name: Family(name, load, has_weights) for name in names})
        return load

    return registered


def families() -> dict[str, Family]:
    """All registered families, by name."""
    _import_files()
    return dict(_families)


def family_of(name: str) -> Family:
    """The family of a hub id or folder, by its ``config.json``, or of an encoder without weights.

    Raises:
        UserError: if it cannot be read, or its family is unknown.
    """
    known = families()
    if name in known and not known[name].has_weights:
        return known[name]
    kind = model_type(name)
    if kind not in known or not known[kind].has_weights:
        names = [family.name for family in known.values() if family.has_weights]
        raise UserError(f"{name}: is a {kind} model; an encoder is one of {', '.join(names)}")
    return known[kind]


def model_type(name: str) -> str:
    """The ``model_type`` in ``config.json`` of a hub id or folder.

    Raises:
        UserError: if there is none.
    """
    from speechkit.encoders.checkpoint import ENCODER
    from speechkit.nn.checkpoints import load_pretrained, readable

    with readable(name, ENCODER):
        file = Path(name) / "config.json"
        config = json.loads(file.read_bytes()) if file.is_file() else None
        if isinstance(config, dict) and "model_type" in config:
            return str(config["model_type"])
        from transformers import AutoConfig

        return str(load_pretrained(AutoConfig, name).model_type)


@cache
def _import_files() -> None:
    from importlib import import_module
    from pkgutil import iter_modules

    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
