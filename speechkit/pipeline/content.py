"""Digests of user inputs: a file's bytes, or a folder's names and bytes; never its path.

To keep ``speechkit status`` fast on terabytes, a digest is cached with a listing of what it covers (sizes, change
times, inodes) and reused while the listing is unchanged. As in git, a listing newer than the clock's resolution is not
trusted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from speechkit.errors import UserError, shown
from speechkit.io.atomic import write_json
from speechkit.io.hashing import DIGEST_BYTES, SETTLED_NANOSECONDS, digest_file

UNREADABLE = "unreadable"


class _CachedDigest(msgspec.Struct, frozen=True):
    listing: str
    digest: str


class ContentDigests:
    """Digests by content, with a small cache on disk."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._cached: dict[str, _CachedDigest] = {}
        with contextlib.suppress(OSError, msgspec.DecodeError):  # without the cache everything is read once
            self._cached = msgspec.json.decode(cache.read_bytes(), type=dict[str, _CachedDigest])

    def digest(self, path: Path) -> str:
        """Digest of a file or folder.

        Raises:
            UserError: if it is missing or cannot be read.
        """
        full = Path(os.path.realpath(path))
        if not full.exists():
            raise UserError(f"{path}: no such file or folder; check the path")
        started = time.time_ns()
        listing, newest = _listing(full)
        cached = self._cached.get(shown(full))
        if cached is not None and cached.listing == listing:
            return cached.digest
        digest = digest_tree(full) if full.is_dir() else digest_file(full)
        if newest < started - SETTLED_NANOSECONDS:
            self._cached[shown(full)] = _CachedDigest(listing, digest)
            self._save()
        return digest

    def remember(self, digests: dict[Path, str]) -> None:
        """Cache digests of files that this process has just written and measured."""
        for path, digest in digests.items():
            full = Path(os.path.realpath(path))
            self._cached[shown(full)] = _CachedDigest(_listing(full)[0], digest)
        self._save()

    def _save(self) -> None:
        with contextlib.suppress(OSError, UserError):  # status works on read-only folders too
            write_json(self._cache, self._cached)


def digest_tree(folder: Path) -> str:
    """Digest of a folder: the names and bytes of its files, in the order of their names."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for name, entry in _entries(folder, "", frozenset()):
        digest.update(f"{name}\0{_digest_entry(entry)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _digest_entry(entry: Path | str) -> str:
    if isinstance(entry, str):
        return entry
    try:
        return digest_file(entry)
    except UserError:
        return UNREADABLE


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file under ``folder`` as (name with ``/``, path), in the same order everywhere; links are followed once."""
    return ((name, entry) for name, entry in _entries(folder, "", frozenset()) if isinstance(entry, Path))


def _entries(folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, Path | str]]:
    """`walk`, with the reason in the place of the path of what cannot be read.

    A bad link is no reason to stop: the stage that reads the folder reports it.
    """
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        yield prefix, UNREADABLE
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        yield prefix, "link to a parent folder"
        return
    for entry in entries:
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError:  # a link to itself
            is_folder = is_file = False
        if is_folder:
            yield from _entries(Path(entry.path), f"{prefix}{entry.name}/", above | {identity})
        elif is_file:
            yield prefix + entry.name, Path(entry.path)
        elif entry.is_symlink():
            yield prefix + entry.name, "broken link"


def _listing(path: Path) -> tuple[str, int]:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    newest = 0
    for name, entry in _entries(path, "", frozenset()) if path.is_dir() else [("", path)]:
        if isinstance(entry, str):
            line = f"{name}\0{entry}\n"
        else:
            status = entry.stat()
            newest = max(newest, status.st_mtime_ns, status.st_ctime_ns)
            line = f"{name}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest(), newest
