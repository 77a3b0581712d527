"""Paths that cannot leave their folder, and identifiers that are safe as file names."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path

from speechkit.errors import UserError

MAX_ID_BYTES = 120
# Windows reserves these names with any suffix; a corpus made here may be unpacked there.
RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")


def inside(folder: Path | str, relative: Path | str) -> Path:
    """The path ``folder / relative``, when it stays inside ``folder`` after links and ``..`` are resolved.

    Raises:
        UserError: if ``relative`` is absolute, holds a NUL byte, or leads out of ``folder``.
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


def is_unicode(path: Path | str) -> bool:
    """Whether a path can stand in JSON and in manifests: they hold Unicode, and a file name may be any bytes."""
    return os.fspath(path).isascii() or not any("\ud800" <= letter <= "\udfff" for letter in os.fspath(path))


def safe_id(text: str) -> str:
    """An identifier that is one file name on every system: letters, digits, ``._-``; at most 120 bytes.

    Text that is safe already comes back unchanged. Any change appends 8 digits of a digest of the whole text, so
    that two different texts do not meet in one name.
    """
    plain = unicodedata.normalize("NFC", text)
    safe = re.sub(r"[^\w.\-]+", "_", plain)
    safe = re.sub(r"^[.\-]+", "_", safe)
    if safe == text and text and len(text.encode()) <= MAX_ID_BYTES and not RESERVED.match(text) and text[-1] != ".":
        return text
    # A lone surrogate (an undecodable file name) has no UTF-8 form; "surrogatepass" still gives it a digest.
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    kept = safe.encode("utf-8", "ignore")[: MAX_ID_BYTES - 9].decode("utf-8", "ignore").rstrip(".")
    if RESERVED.match(kept):
        kept = f"_{kept}"[: MAX_ID_BYTES - 9]
    return f"{kept}-{digest}" if kept else f"id-{digest}"
