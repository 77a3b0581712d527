"""YAML that holds data only, read by the YAML 1.2 core rules.

PyYAML's own rules are YAML 1.1: ``1e-3`` is a string, ``no`` is false, ``12:30`` is 750. Here ``1e-3`` is a number and
``no``, ``on``, ``off`` and dates are strings. Tags, anchors and repeated keys are errors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from speechkit.errors import ConfigError

MAX_DEPTH = 50
MAX_BYTES = 1 << 20  # configs are written by hand


class _CoreLoader(yaml.SafeLoader):
    """SafeLoader with the scalar rules of YAML 1.2 instead of 1.1."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z", list("-+0123456789")),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z",
        list("-+.0123456789"),
    ),
):
    _CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


@dataclass
class YamlData:
    """Plain data with the line of every key, ``lines["features.layer"] == 3``."""

    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)


def read_yaml(path: Path) -> YamlData:
    """A YAML mapping as data.

    Raises:
        ConfigError: if the file cannot be read or is not plain data, with the line.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(
                f"{path}: {path.stat().st_size} bytes is too large for a config; at most {MAX_BYTES} are read"
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the config: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text; save it as UTF-8") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> YamlData:
    """As `read_yaml`, from a string; ``where`` names it in errors."""
    parsed = YamlData()
    try:
        node = _compose(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{name}:{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: nested too deep for a config") from error
    if node is None:
        return parsed
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{name}:1: a config is a mapping of keys to values")
    parsed.data = _plain(node, "", name, parsed.lines)
    return parsed


def parse_scalar(text: str) -> Any:
    """The value of ``key=value`` on the command line: a YAML scalar or flow collection such as ``[1, 2]``."""
    try:
        node = _compose(text)
        return None if node is None else _plain(node, "", "value", {})
    except (yaml.YAMLError, ConfigError, RecursionError):
        return text


def _compose(text: str) -> yaml.Node | None:
    loader = _CoreLoader(text)
    try:
        depth = 0
        for event in _events(text):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise yaml.MarkedYAMLError(problem="nested too deep for a config", problem_mark=event.start_mark)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise yaml.MarkedYAMLError(
                    problem="anchors are not data; write the value out", problem_mark=event.start_mark
                )
            if getattr(event, "tag", None):
                raise yaml.MarkedYAMLError(
                    problem=f"tag {event.tag} is not data; write a plain value", problem_mark=event.start_mark
                )
        return loader.get_single_node()
    finally:
        loader.dispose()


def _events(text: str) -> Any:
    return yaml.parse(text, Loader=_CoreLoader)


def _plain(node: yaml.Node, prefix: str, name: str, lines: dict[str, int]) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, f"{prefix}[{index}]", name, lines) for index, item in enumerate(node.value)]
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{name}:{line}: a key must be a string, not a collection")
        key = str(key_node.value)
        path = f"{prefix}.{key}" if prefix else key
        if key in result:
            raise ConfigError(f"{name}:{line}: duplicate key {path!r}, first on line {lines[path]}")
        lines[path] = line
        result[key] = _plain(value_node, path, name, lines)
    return result


def _scalar(node: yaml.ScalarNode) -> Any:
    text = node.value
    kind = node.tag.rsplit(":", 1)[-1]
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
