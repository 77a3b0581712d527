"""HTML and SVG elements as escaped strings: text of the user's can never become an element."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any

from markupsafe import Markup as Markup

from speechkit.report.page import data_block as data_block

VOID = {"br", "hr", "img", "input", "link", "meta", "source"}
NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9:-]*\Z")


Child = Any
Attribute = str | int | float | bool | None


def element(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """An element with escaped children and attributes.

    ``class_`` is the attribute class, ``aria_label`` is aria-label, ``viewBox`` stays as it is. An attribute that is
    None or False is left out, True has no value. Children may be nested iterables; None is left out.

    Raises:
        ValueError: if a name is not a plain HTML name.
    """
    if not NAME.match(name):
        raise ValueError(f"{name!r} is no element name")
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        if not NAME.match(attribute):
            raise ValueError(f"{attribute!r} is no attribute name")
        written.append(f" {attribute}" if value is True else f' {attribute}="{html.escape(_text(value))}"')
    head = f"<{name}{''.join(written)}>"
    if name in VOID:
        return Markup(head)
    return Markup(f"{head}{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Children one after another, escaped where they are not markup."""
    return Markup("".join(_flat(children)))


def _flat(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            yield child
        elif hasattr(child, "__html__"):
            yield child.__html__()
        elif isinstance(child, str):
            yield html.escape(_text(child), quote=False)
        elif isinstance(child, int | float):
            yield _text(child)
        else:
            yield from _flat(child)


def _text(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".") or "0"
    # A NUL or lone surrogate has no place in HTML: it shows as the replacement character.
    return str(value).replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
