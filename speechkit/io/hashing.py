"""Content digests of files and values: 16 bytes of BLAKE2b as 32 hexadecimal digits."""

from __future__ import annotations

import hashlib
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import UserError

DIGEST_BYTES = 16
BLOCK_BYTES = 1 << 20
SETTLED_NANOSECONDS = 2 * 10**9  # FAT has the coarsest timestamps in use: two seconds


def digest_bytes(content: bytes | bytearray | memoryview) -> str:
    """Digest of bytes."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def digest_file(path: Path | str) -> str:
    """Digest of a file's bytes, read in blocks; equal to `digest_bytes` of its content.

    Cached per process: a file is read again only if its size, times or inode changed, or if it was modified in the
    last two seconds.

    Raises:
        UserError: if the file is missing or cannot be read.
    """
    try:
        status = Path(path).stat()
        facts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        settled = max(status.st_mtime_ns, status.st_ctime_ns) < time.time_ns() - SETTLED_NANOSECONDS
        return _kept_digest(path, facts) if settled else _digest(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def _digest(path: Path | str) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


@lru_cache(maxsize=4096)
def _kept_digest(path: Path | str, facts: tuple[int, ...]) -> str:
    return _digest(path)


def digest_obj(value: Any) -> str:
    """Digest of a value's canonical JSON: keys and sets sorted, no spaces.

    Dicts that differ only in key order have equal digests; ``1`` and ``1.0`` have different ones.
    """
    return digest_bytes(msgspec.json.encode(value, order="deterministic"))
