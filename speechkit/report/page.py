"""Render templates to self-contained HTML files with inline styles and scripts and no network requests."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from markupsafe import Markup, escape

from speechkit.io.atomic import write_bytes
from speechkit.report.svg import keys, shape

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_DATA_BYTES = 1_000_000  # embedded scores; they are also in a file of their own


def asset(name: str) -> str:
    """Read a stylesheet or script of this package."""
    return resources.files("speechkit.report").joinpath("assets").joinpath(name).read_text(encoding="utf-8")


@cache
def environment() -> Environment:
    """Template environment with autoescaping; undefined names are errors."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("speechkit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: "" if value is None else value,
    )
    env.globals |= {
        "data_block": data_block,
        "packed_block": packed_block,
        "keys": keys,
        "MAX_DATA_BYTES": MAX_DATA_BYTES,
    }
    env.filters["thousands"] = "{:,}".format
    return env


def write_page(path: Path | str, template: str, **arguments: Any) -> Path:
    """Write a page atomically and return its path; arguments as in `render`."""
    write_bytes(path, render(template, **arguments).encode("utf-8"))
    return Path(path)


def render(
    template: str,
    *,
    title: str,
    lang: str = "en",
    styles: Iterable[str] = (),
    scripts: Iterable[str] = (),
    audio_beside: bool = False,
    **context: Any,
) -> str:
    """Render a template to a complete HTML document.

    The content security policy allows only the given scripts and styles, by their hash, forbids every request
    and allows audio and images only from inside the page, or audio from files next to it.

    Args:
        template: name of the template.
        title: title of the window, and a variable of the template.
        lang: language of the page.
        styles: names of assets in addition to page.css.
        scripts: names of assets in addition to player.js.
        audio_beside: whether audio may also be loaded from the folder or server of the page.
        context: the template's other variables.
    """
    style = "\n".join(map(asset, ["page.css", *styles]))
    script = "\n".join(["'use strict';", *map(asset, ["player.js", *scripts])])
    # A page opened from a folder has no origin that 'self' could match.
    beside = " 'self' file:" if audio_beside else ""
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; media-src data: blob:{beside}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    page = (
        environment()
        .get_template(template)
        .render(title=title, lang=lang, style=Markup(style), script=Markup(script), policy=policy, **context)
    )
    # NUL and lone surrogates are invalid in HTML.
    return page.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def data_block(identifier: str, value: object, most: int | None = None) -> Markup:
    """A ``<script type="application/json">`` block; ``<``, ``>`` and ``&`` are escaped so that no text can close it.

    Empty if it would exceed ``most`` bytes.
    """
    text = msgspec.json.encode(value).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    if most is not None and len(text) > most:
        return Markup("")
    return Markup(f'<script type="application/json" id="{escape(identifier)}">{text}</script>')


def packed_block(identifier: str, value: object) -> Markup:
    """Gzipped JSON in base64, in a block that the browser neither executes nor parses until a script reads it.

    Equal values give equal bytes.
    """
    zipped = gzip.compress(msgspec.json.encode(value), compresslevel=6, mtime=0)
    return shape("script", base64.b64encode(zipped).decode(), type="text/plain", id=identifier)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
