"""Digests that say whether two files or two values are the same; 16 bytes of BLAKE2b as 32 hexadecimal digits."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import UserError

DIGEST_BYTES = 16
BLOCK_BYTES = 1 << 20


def digest_bytes(content: bytes | bytearray | memoryview) -> str:
    """Digest of bytes."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def digest_file(path: Path | str) -> str:
    """Digest of a file's bytes, read in blocks; equal to `digest_bytes` of its content.

    Raises:
        UserError: if the file is missing or cannot be read.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    try:
        with Path(path).open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def digest_obj(value: Any) -> str:
    """Digest of a value through its canonical JSON: keys and sets sorted, no spaces.

    Dicts that differ only in the order of their keys have one digest; ``1`` and ``1.0`` have two.
    """
    return digest_bytes(msgspec.json.encode(value, order="deterministic"))
