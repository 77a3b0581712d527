"""Every setting of a recipe: key, type, value, source and description."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from speechkit.pipeline.config import Settings, default_of, marks, struct_of
from speechkit.pipeline.stage import NEUTRAL, SHARED

_DESCRIPTION = re.compile(r"^ {4}(?P<name>\w+): (?P<text>.+(?:\n {8,}\S.*)*)", re.MULTILINE)


class SettingRow(msgspec.Struct, frozen=True):
    """One setting.

    Attributes:
        stage: name of its stage.
        key: as on the command line, ``train.loop.steps``.
        type: in words, with bounds and choices.
        value: as in YAML or JSON; None also if not set.
        required: not set, but needed.
        source: ``conf/small.yaml:3``, ``command line``, or empty for the default.
        shared: a top-level key such as ``lang`` sets it in all stages.
        neutral: it does not change the result.
        description: from its config's docstring.
    """

    stage: str
    key: str
    type: str
    value: Any
    required: bool
    source: str
    shared: bool
    neutral: bool
    description: str


def setting_rows(settings: Settings) -> list[SettingRow]:
    """All settings of a recipe in the order of its stages, with their current values."""
    rows: list[SettingRow] = []
    for stage in settings.recipe.stages:
        rows += _rows_of(settings, stage.name, stage.config, stage.name, None)
    return rows


def _rows_of(
    settings: Settings, stage: str, config: type[msgspec.Struct], prefix: str, default: msgspec.Struct | None
) -> Iterator[SettingRow]:
    hints, descriptions = get_type_hints(config, include_extras=True), _descriptions(config)
    for info in msgspec.structs.fields(config):
        key, annotation = f"{prefix}.{info.name}", hints[info.name]
        value = default_of(info) if default is None else getattr(default, info.name)
        inner = struct_of(annotation)
        if inner is not None:
            yield from _rows_of(settings, stage, inner, key, value)
            continue
        shared = SHARED in marks(config, info.name)
        given = settings.values.get(key) or (settings.values.get(info.name) if shared else None)
        yield SettingRow(
            stage,
            key,
            type_in_words(annotation),
            given[0] if given else value,
            given is None and default is None and info.required,
            given[1] if given else "",
            shared,
            NEUTRAL in marks(config, info.name),
            descriptions.get(info.name, ""),
        )


def _descriptions(config: type[msgspec.Struct]) -> dict[str, str]:
    """Field to its line under ``Attributes:`` of the docstring."""
    _, heading, fields = (inspect.getdoc(config) or "").partition("Attributes:\n")
    return (
        {match["name"]: " ".join(match["text"].split()) for match in _DESCRIPTION.finditer(fields)} if heading else {}
    )


def type_in_words(annotation: Any) -> str:
    """``int, 1 or more``, ``text or none``, ``one of mean, max``, ``list of number``."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [_bounds(meta) for meta in inner[1:] if isinstance(meta, msgspec.Meta)]
        return ", ".join([type_in_words(inner[0]), *filter(None, bounds)])
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (Union, types.UnionType):
        members = [type_in_words(member) for member in inner if member is not type(None)]
        return " or ".join(dict.fromkeys([*members, *(["none"] if type(None) in inner else [])]))
    if origin is dict:
        return f"mapping of {type_in_words(inner[1])}"
    if origin is not None:
        return "list of " + " or ".join(dict.fromkeys(type_in_words(part) for part in inner if part is not Ellipsis))
    names = {int: "int", float: "number", str: "text", bool: "true or false", Any: "anything"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _bounds(meta: msgspec.Meta) -> str:
    words = {
        "ge": "{} or more", "gt": "above {}", "le": "{} or less", "lt": "below {}", "min_length": "at least {} long",
        "max_length": "at most {} long", "pattern": "matching {}",
    }  # fmt: skip
    bounds = [text.format(value) for name, text in words.items() if (value := getattr(meta, name)) is not None]
    return ", ".join(bounds)
