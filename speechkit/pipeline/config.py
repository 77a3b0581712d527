"""Stage configs from defaults in code, YAML files and ``key=value``; every mistake is reported at once.

The order, later wins: the struct's defaults, ``Recipe.defaults``, YAML files in the order given, the command line.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from speechkit.errors import ConfigError
from speechkit.pipeline.recipe import Recipe
from speechkit.pipeline.stage import NEUTRAL, SHARED, External, Stage, StageInput
from speechkit.pipeline.yaml_data import parse_scalar, read_yaml


@dataclass
class Settings:
    """Settings with their sources: ``values["features.layer"] == (12, "conf/x.yaml:3")``."""

    recipe: Recipe
    seed: int = 1
    values: dict[str, tuple[Any, str]] = field(default_factory=dict)

    def config(self, stage: Stage) -> msgspec.Struct:
        """The stage's config.

        Raises:
            ConfigError: if a field without a default was not given, or the struct rejects the combination.
        """
        try:
            return _build(stage.config, stage.name, self.values)
        except _ConfigProblemsError as error:
            raise ConfigError("; ".join(error.problems)) from error

    def given(self, stage: Stage) -> dict[str, Any]:
        """The fields that name the stage's files and models from outside the recipe, by input."""
        config = self.config(stage)
        return {
            input_.name: getattr(
                self.config(self.recipe.stage(input_.of)) if isinstance(input_, External) and input_.of else config,
                input_.key,
            )
            for input_ in stage.inputs
            if not isinstance(input_, StageInput)
        }


class _ConfigProblemsError(Exception):
    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def read_settings(
    recipe: Recipe,
    files: Sequence[Path] = (),
    overrides: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
) -> Settings:
    """Read all settings of a recipe and check them against the configs of its stages.

    ``arguments`` have values as in YAML; they override the files and are overridden by ``overrides``.

    Raises:
        ConfigError: with all unknown keys, wrong types and invalid choices, one per line.
    """
    settings = Settings(recipe)
    known = _types(recipe)
    problems: list[str] = []
    layers: list[tuple[Any, dict[str, int] | None, str]] = [(recipe.defaults, None, f"recipe {recipe.name}")]
    for path in files:
        try:
            content = read_yaml(path)
        except ConfigError as error:
            problems.append(str(error))
            continue
        layers.append((content.data, content.lines, str(path)))
    layers.append((dict(arguments or {}), None, "argument"))
    for data, lines, origin in layers:
        for key, value in _leaves(data, recipe, known):
            line = (lines or {}).get(key)
            _set(settings, known, key, value, f"{origin}:{line}" if line else origin, problems)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            problems.append(f"{override!r} is not of the form key=value")
            continue
        key = key.strip()
        inner = parse_scalar(text) if _holds_settings(key, recipe, known) else None
        if isinstance(inner, dict):
            for name, value in _leaves(inner, recipe, known, key):
                _set(settings, known, name, value, "command line", problems)
            continue
        _set(settings, known, key, text, "command line", problems, is_text=True)
    if problems:
        raise ConfigError("\n".join(problems))
    return settings


def is_neutral(config: type[msgspec.Struct], name: str) -> bool:
    """Whether the field is marked as not changing the result."""
    return NEUTRAL in marks(config, name)


def _types(recipe: Recipe) -> dict[str, list[Any]]:
    """Key to the types it must satisfy (several if stages share it)."""
    types_by_key: dict[str, list[Any]] = {"seed": [Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]]}
    for stage in recipe.stages:
        for key, annotation in _struct_types(stage.config, stage.name):
            types_by_key.setdefault(key, []).append(annotation)
        for name, annotation in get_type_hints(stage.config, include_extras=True).items():
            if SHARED in marks(stage.config, name):
                types_by_key.setdefault(name, []).append(annotation)
    return types_by_key


def _struct_types(config: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, annotation in get_type_hints(config, include_extras=True).items():
        if name.startswith("__"):
            continue
        yield f"{prefix}.{name}", annotation
        inner = struct_of(annotation)
        if inner is not None:
            yield from _struct_types(inner, f"{prefix}.{name}")


def struct_of(annotation: Any) -> type[msgspec.Struct] | None:
    """The struct type of a field with nested settings; None for a plain value."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct) else None


def marks(config: type[msgspec.Struct], name: str) -> tuple[Any, ...]:
    """The marks of a field, such as NEUTRAL and SHARED."""
    return getattr(get_type_hints(config, include_extras=True)[name], "__metadata__", ())


def _leaves(
    data: dict[str, Any], recipe: Recipe, known: dict[str, list[Any]], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Mappings are expanded as far as the configs have structs; a dict field stays one value."""
    for key, value in data.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        is_open = _holds_settings(path, recipe, known)
        if isinstance(value, dict) and is_open:
            yield from _leaves(value, recipe, known, path)
        elif value is None and is_open and not prefix:
            continue  # an empty section
        else:
            yield path, value


def _holds_settings(path: str, recipe: Recipe, known: dict[str, list[Any]]) -> bool:
    """Whether it is a stage's section or a field with nested fields."""
    if "." not in path:
        return path in {stage.name for stage in recipe.stages}
    return path in known and struct_of(known[path][0]) is not None


def _set(
    settings: Settings,
    known: dict[str, list[Any]],
    key: str,
    value: Any,
    origin: str,
    problems: list[str],
    *,
    is_text: bool = False,
) -> None:
    if key not in known:
        problems.append(f"{origin}: {_unknown(key, known)}")
        return
    if struct_of(known[key][0]) is not None:
        inner = next((name for name in known if name.startswith(f"{key}.")), None)
        use = f"set its fields, for example {inner}" if inner else "it has none yet, leave it out"
        problems.append(f"{origin}: {key} is a group of settings; {use}")
        return
    for annotation in known[key]:
        try:
            converted = _convert_text(value, annotation) if is_text else msgspec.convert(value, annotation, strict=True)
        except (msgspec.ValidationError, ValueError) as error:
            problems.append(f"{origin}: {key}: {_complaint(value, annotation, error)}")
            return
    if key == "seed":
        settings.seed = converted
    settings.values[key] = (converted, origin)


def _unknown(key: str, known: dict[str, list[Any]]) -> str:
    shared = key.rpartition(".")[2]
    if shared in known:
        readers = [stage for stage, _, name in (path.partition(".") for path in known) if name == shared]
        return f"unknown key {key!r}; give {shared}=…, which is read by {', '.join(readers)}"
    close = get_close_matches(key, known, n=1, cutoff=0.6)
    if not close:
        close = [name for name in known if name.endswith("." + key)][:1]
    if not close and "." in key:
        section = key.split(".")[0] + "."
        close = get_close_matches(key.split(".")[-1], [k[len(section) :] for k in known if k.startswith(section)], n=1)
        close = [section + name for name in close]
    if close:
        return f"unknown key {key!r}; did you mean {close[0]!r}?"
    if "." in key and (siblings := [name for name in known if name.startswith(key.split(".")[0] + ".")]):
        return f"unknown key {key!r}; known keys are {', '.join(siblings)}"
    tops = sorted({name.split(".")[0] for name in known})
    return f"unknown key {key!r}; the top-level keys are {', '.join(tops)}"


def _convert_text(text: str, annotation: Any) -> Any:
    """A command-line value, parsed as YAML, or as plain text for text fields."""
    value = parse_scalar(text)
    try:
        return msgspec.convert(value, annotation, strict=True)
    except (msgspec.ValidationError, ValueError):
        with contextlib.suppress(msgspec.ValidationError, ValueError):
            return msgspec.convert(text, annotation, strict=True)
        raise


def _complaint(value: Any, annotation: Any, error: Exception) -> str:
    choices = _choices(annotation)
    if isinstance(value, list) and get_origin(annotation) is list and (allowed := _choices(get_args(annotation)[0])):
        value, choices = next((item for item in value if item not in allowed), value), allowed
    if choices and not isinstance(value, (dict, list)):
        close = get_close_matches(str(value), [str(choice) for choice in choices], n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{value!r} is not one of {', '.join(str(choice) for choice in choices)}{hint}"
    text = str(error).split(" - at ")[0].replace("`", "")
    hint = ""
    if isinstance(value, (int, float, bool)) and "str" in text:
        hint = "; put it in quotes"
    return f"{text[0].lower()}{text[1:]}: {value!r}{hint}"


def _choices(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _choices(get_args(annotation)[0])
    if origin is Literal:
        return list(get_args(annotation))
    if origin in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        choices = [_choices(member) for member in members]
        return [choice for group in choices for choice in group] if all(choices) else []
    return []


def _build(
    config: type[msgspec.Struct],
    prefix: str,
    values: dict[str, tuple[Any, str]],
    default: msgspec.Struct | None = None,
) -> msgspec.Struct:
    """The struct with the given settings; the rest as in ``default``, which may differ from the struct's defaults."""
    arguments: dict[str, Any] = {} if default is None else msgspec.structs.asdict(default)
    problems: list[str] = []
    hints = get_type_hints(config, include_extras=True)
    for info in msgspec.structs.fields(config):
        key = f"{prefix}.{info.name}"
        inner = struct_of(hints[info.name])
        shared = info.name if SHARED in getattr(hints[info.name], "__metadata__", ()) else None
        if inner is not None and any(name.startswith(key + ".") for name in values):
            try:
                arguments[info.name] = _build(inner, key, values, arguments.get(info.name, default_of(info)))
            except _ConfigProblemsError as error:
                problems += error.problems
        elif key in values:
            arguments[info.name] = values[key][0]
        elif shared and shared in values:
            arguments[info.name] = values[shared][0]
        elif info.required and info.name not in arguments:
            problems.append(f"{key} is missing; give it as {shared or key}=… or in a config file")
    if problems:
        raise _ConfigProblemsError(problems)
    try:
        return config(**arguments)
    except ValueError as error:
        raise _ConfigProblemsError([f"{prefix}: {error}"]) from error


def default_of(info: msgspec.structs.FieldInfo) -> Any:
    """A field's default value; None if it has none."""
    if info.default is not msgspec.NODEFAULT:
        return info.default
    return info.default_factory() if info.default_factory is not msgspec.NODEFAULT else None
