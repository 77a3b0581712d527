"""The page shell: one HTML file with its style and script inside, which asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from speechkit.io.atomic import write_bytes
from speechkit.report.markup import Child, Markup, element, join


def asset(name: str) -> str:
    """A style or script that comes with this package."""
    return resources.files("speechkit.report").joinpath("assets").joinpath(name).read_text(encoding="utf-8")


def render_page(
    title: str, body: Iterable[Child], *, lang: str = "en", styles: Iterable[str] = (), scripts: Iterable[str] = ()
) -> str:
    """A whole HTML document around ``body``.

    The content security policy lets run exactly the given scripts and styles, by their hash, forbids every request
    and allows audio and images from inside the page only.
    """
    style = "\n".join([asset("page.css"), *styles])
    script = "\n".join(["'use strict';", asset("player.js"), *scripts])
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; media-src data: blob:; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", **{"http-equiv": "Content-Security-Policy", "content": policy}),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("link", rel="icon", href="data:,"),
        Markup(f"<style>{style}</style>"),
    )
    # At the end, so that everything it touches is there; no text of the user's is ever inside.
    content = element("body", join(body), Markup(f"<script>{script}</script>"))
    return f"<!doctype html>\n{element('html', head, content, lang=lang)}\n"


def write_page(path: Path | str, page: str) -> None:
    """Write the page atomically as UTF-8."""
    write_bytes(path, page.encode("utf-8"))


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
