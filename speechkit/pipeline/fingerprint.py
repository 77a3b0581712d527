"""Everything that a stage's result depends on, as a flat record for hashing and comparing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import UserError
from speechkit.io.hashing import digest_obj
from speechkit.pipeline.config import is_neutral
from speechkit.pipeline.content import ContentDigests
from speechkit.pipeline.stage import External, Model, Stage, StageInput

Identity = dict[str, Any]
"""For example ``{"version": 1, "config.layer": 9, "input.cuts": "3f9c…", "seed": 1, …}``."""

FOLDER_DIGITS = 16


def fingerprint(identity: Identity) -> str:
    """The hash of an identity: 32 hexadecimal digits; folders carry the first 16."""
    return digest_obj(identity)


def identity_of(stage: Stage, config: msgspec.Struct, seed: int, inputs: dict[str, str]) -> Identity:
    """Everything that may change the stage's bytes.

    Paths are left out (their content is in ``inputs``), as are NEUTRAL fields.
    """
    paths = {input_.key for input_ in stage.inputs if not isinstance(input_, StageInput)}
    identity: Identity = {"stage": stage.name, "version": stage.version, "seed": seed}
    if stage.is_worker:
        identity["part_records"] = stage.part_records  # part of the names of array shards
    for key, value in _flat(config, "config"):
        if key.removeprefix("config.") not in paths:
            identity[key] = value
    identity.update(inputs)
    return identity


def differences(old: Identity, new: Identity) -> list[str]:
    """Differences of two identities, one sentence per key."""
    sentences = []
    for key in sorted(old.keys() | new.keys()):
        old_value, new_value = old.get(key), new.get(key)
        if old_value == new_value:
            continue
        if key.startswith(("input.", "model.")):
            sentences.append(f"{key} changed: {_short(old_value)} -> {_short(new_value)}")
        else:
            sentences.append(f"{key}: {_shown(old, key)} -> {_shown(new, key)}")
    return sentences


def own_input_digests(stage: Stage, given: Mapping[str, Any], contents: ContentDigests) -> dict[str, str]:
    """Digests of the inputs that come from outside the recipe, by their key in the identity.

    ``given`` are the fields that name them, by input, from `Settings.given`.
    """
    digests: dict[str, str] = {}
    for input_ in stage.inputs:
        if isinstance(input_, StageInput):
            continue
        value = given[input_.name]
        if value is None:
            continue
        try:
            if isinstance(input_, Model):
                digests[f"model.{input_.name}"] = _model_digest(input_, str(value), contents)
            else:
                digests[f"input.{input_.name}"] = contents.digest(Path(value))
        except UserError as error:
            owner = (input_.of if isinstance(input_, External) else None) or stage.name
            raise UserError(f"{owner}.{input_.key}: {error}") from error
    return digests


def input_paths(stage: Stage, given: Mapping[str, Any], folders: dict[str, Path]) -> dict[str, Path]:
    """Paths of the stage's inputs, by name; models and absent inputs are left out."""
    paths: dict[str, Path] = {}
    for input_ in stage.inputs:
        if isinstance(input_, StageInput):
            folder = folders[input_.stage]
            paths[input_.name] = folder / input_.file if input_.file else folder
        elif isinstance(input_, External) and (value := given[input_.name]) is not None:
            paths[input_.name] = Path(value).absolute()
    return paths


def _model_digest(input_: Model, value: str, contents: ContentDigests) -> str:
    if input_.digest is not None:
        return input_.digest(value)
    path = Path(value)
    return contents.digest(path) if path.exists() else f"name:{value}"


def _flat(value: msgspec.Struct, prefix: str) -> list[tuple[str, Any]]:
    items: list[tuple[str, Any]] = []
    for field in msgspec.structs.fields(value):
        if is_neutral(type(value), field.name):
            continue
        inner = getattr(value, field.name)
        key = f"{prefix}.{field.name}"
        if isinstance(inner, msgspec.Struct):
            items += _flat(inner, key)
        else:
            # Through JSON, for comparison with _stage.json (tuples become lists).
            items.append((key, msgspec.json.decode(msgspec.json.encode(inner))))
    return items


def _short(digest: Any) -> str:
    if digest is None:
        return "absent"
    text = str(digest)
    return text if text.startswith("name:") else text[:8]


def _shown(identity: Identity, key: str) -> str:
    return msgspec.json.encode(identity[key]).decode() if key in identity else "absent"
