"""Paths confined to a folder, and identifiers that are safe as file names."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from speechkit.errors import UserError

MAX_ID_BYTES = 120
# Windows reserves these names with any suffix; a corpus written elsewhere may be unpacked there.
RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")


def inside(folder: Path | str, relative: Path | str) -> Path:
    """The path ``folder / relative``, checked to stay inside ``folder`` after resolving links and ``..``.

    Raises:
        UserError: if ``relative`` is absolute, contains a NUL byte, or leads out of ``folder``.
    """
    text = os.fspath(relative)
    if "\0" in text:
        raise UserError(f"{text!r}: a path cannot hold a NUL byte; rename it")
    if Path(text).is_absolute() or re.match(r"^([A-Za-z]:|[\\/])", text):
        raise UserError(f"{text}: is an absolute path; only paths inside {folder} are allowed")
    root = Path(os.path.realpath(folder))
    full = Path(os.path.realpath(root / text))
    if full != root and root not in full.parents:
        raise UserError(f"{text}: leads out of {folder}; only paths inside it are allowed")
    return full


def refuse_inputs(target: Path | str, inputs: Iterable[Path | str]) -> None:
    """Refuse to write over an input, by whatever path it is named.

    Raises:
        UserError: if ``target`` is one of ``inputs``.
    """
    if os.path.realpath(target) in map(os.path.realpath, inputs):
        raise UserError(f"{target}: is an input, and would be replaced; choose another --out")


def is_unicode(path: Path | str) -> bool:
    """Whether a path can be stored in JSON and manifests: file names may be bytes that are not valid Unicode."""
    return os.fspath(path).isascii() or not any("\ud800" <= letter <= "\udfff" for letter in os.fspath(path))


def safe_id(text: str) -> str:
    """Convert text to a file name that is valid on every system: letters, digits, ``._-``; at most 120 bytes.

    Safe text is returned unchanged. Otherwise 8 digits of a digest of the whole text are appended, so that different
    texts do not collide.
    """
    plain = unicodedata.normalize("NFC", text)
    safe = re.sub(r"[^\w.\-]+", "_", plain)
    safe = re.sub(r"^[.\-]+", "_", safe)
    if safe == text and text and len(text.encode()) <= MAX_ID_BYTES and not RESERVED.match(text) and text[-1] != ".":
        return text
    # A lone surrogate (undecodable file name) has no UTF-8 encoding; "surrogatepass" still yields a digest.
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    shortened = safe.encode("utf-8", "ignore")[: MAX_ID_BYTES - 9].decode("utf-8", "ignore").rstrip(".")
    if RESERVED.match(shortened):
        shortened = f"_{shortened}"[: MAX_ID_BYTES - 9]
    return f"{shortened}-{digest}" if shortened else f"id-{digest}"
