"""Files that appear whole or not at all: a temporary file beside the target, flush, fsync, rename."""

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
    """The one sentence for a failed write: the path, the cause and what to do."""
    cause = ADVICE.get(error.errno or 0, os.strerror(error.errno) if error.errno else str(error))
    return UserError(f"{path}: cannot be written: {cause}")


def sync_folder(folder: Path) -> None:
    """Make a rename durable; file systems that cannot sync a folder are left to their own promise."""
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
    """A temporary path beside ``path``; renamed to it when the block ends well, removed when it does not.

    The temporary name keeps the suffix, so that a library may choose a format by it. Missing parent folders are
    made. Writers of one path at the same time each have their own temporary file and the last to finish wins.

    Raises:
        UserError: if the disk is full, or the folder is read-only or not a folder; the message names ``path``.
    """
    shown = Path(path)
    # The target of a link is replaced, not the link; a device or pipe must never be replaced by a file.
    target = Path(os.path.realpath(shown))
    # os.path answers "no" where a name cannot exist; the write below then says why.
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
                # safetensors puts a file of its own here, which nobody but its owner may read.
                if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
                    temporary.chmod(mode)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, target)  # noqa: PTH105 - named as the contract names it
        except OSError as error:
            raise write_error(shown, error) from error
    finally:
        # Where the block made it a link to the target itself, the rename did nothing and it is still there.
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a whole file at once, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(content)


def write_text(path: Path | str, text: str) -> None:
    """Write a whole UTF-8 file at once, atomically; line ends are kept as they are."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> None:
    """Write indented JSON with sorted keys and a newline at the end, atomically.

    ``value`` is anything that msgspec encodes: records, dicts, lists, numbers, strings.
    """
    encoded = msgspec.json.encode(value, order="sorted")
    write_bytes(path, msgspec.json.format(encoded, indent=2) + b"\n")
