"""Atomic file writes: temporary file in the target folder, flush, fsync, rename."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import UserError

ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and run again",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EROFS: "the file system is read-only; choose another output folder",
    errno.EACCES: "permission denied; choose another output folder or fix its permissions",
    errno.EPERM: "not permitted; choose another output folder or fix its permissions",
    errno.EISDIR: "there is a folder of that name; remove it or choose another name",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another output path",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
    errno.EFBIG: "the file is larger than this system allows; write it in parts",
}
ALWAYS_OUR_FILE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def write_error(path: Path | str, error: OSError) -> UserError:
    """User-facing error for a failed write: path, cause and remedy."""
    cause = ADVICE.get(error.errno or 0, os.strerror(error.errno) if error.errno else str(error))
    return UserError(f"{path}: cannot be written: {cause}")


def sync_folder(folder: Path) -> None:
    """Make a rename durable by fsync on its folder; ignored on file systems that do not support it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Temporary path beside ``path``, renamed to it if the block succeeds and removed if it raises.

    The temporary name keeps the suffix, from which a library may infer the format. Missing parent folders are
    created. Concurrent writers of one path each have their own temporary file; the last to finish wins.

    Raises:
        UserError: if the disk is full, or the folder is read-only or not a folder; the message names ``path``.
    """
    shown = Path(path)
    # Replace the target of a link, not the link; never replace a device or pipe by a file.
    target = Path(os.path.realpath(shown))
    # os.path returns False for an invalid name; the write below then raises the reason.
    if os.path.exists(target) and not os.path.isfile(target):  # noqa: PTH110, PTH113
        kind = "a folder" if target.is_dir() else "not a plain file"
        raise UserError(f"{shown}: cannot be written: it is {kind}; choose another output path")
    suffix = "".join(target.suffixes[-2:])[-32:]
    temporary = target.parent / f".tmp-{secrets.token_hex(8)}{suffix}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        created = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        mode = stat.S_IMODE(os.fstat(created).st_mode)
        os.close(created)
    except OSError as error:
        raise write_error(shown, error) from error
    try:
        try:
            yield temporary
        except OSError as error:
            if error.errno in ALWAYS_OUR_FILE or error.filename == str(temporary):
                raise write_error(shown, error) from error
            raise
        try:
            descriptor = os.open(temporary, os.O_RDWR)
            try:
                # safetensors creates its own file here, readable by its owner only.
                if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
                    temporary.chmod(mode)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, target)  # noqa: PTH105 - named as the contract names it
        except OSError as error:
            raise write_error(shown, error) from error
    finally:
        # If the block hard-linked it to the target, the rename was a no-op and it still exists.
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write bytes to a file atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(content)


def write_text(path: Path | str, text: str) -> None:
    """Write text to a UTF-8 file atomically; line endings are not translated."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> None:
    """Write indented JSON with sorted keys and a final newline, atomically.

    ``value`` is anything that msgspec encodes: records, dicts, lists, numbers, strings.
    """
    encoded = msgspec.json.encode(value, order="sorted")
    write_bytes(path, msgspec.json.format(encoded, indent=2) + b"\n")
