"""Unpack tar archives of corpora once and safely: only regular files, and only inside the target folder."""

from __future__ import annotations

import os
import secrets
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import IO

import msgspec

from speechkit.errors import UserError
from speechkit.io.atomic import write_error, write_json
from speechkit.io.paths import inside

STATE = "_archive.json"
BLOCK_BYTES = 1 << 20
# Speech does not compress by a factor of 200; an archive that expands more could fill the disk.
MAX_EXPANSION = 200
FREE_BYTES = 1 << 30
MAX_HEADER_BYTES = 1 << 20
EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class _BoundedHeader(tarfile.TarInfo):
    """A member with a size limit on extended headers, which tarfile reads into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _BoundedHeader:
        """Parse a header block; rejects one with an oversized name or attribute list."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in EXTENDED and member.size > MAX_HEADER_BYTES:
            raise UserError(f"a header of {member.size} bytes is announced; download the archive again")
        return member


class _State(msgspec.Struct):
    """Identifies the archive that a folder was unpacked from."""

    name: str
    size: int
    changed_ns: int


def unpacked(archive: Path, folder: Path) -> Path:
    """Unpack a tar archive (plain, gzip, bzip2 or xz) to ``folder``, unless that was already done.

    The archive is streamed, member by member. The folder is created atomically, by a rename.

    Raises:
        UserError: if the archive is corrupt, has a path outside the folder, contains links or devices, or expands to
            more than 200 times its size.
    """
    status = archive.stat()
    state = _State(archive.name, status.st_size, status.st_mtime_ns)
    if _same(folder / STATE, state):
        return folder
    temporary = folder.parent / f".tmp-{secrets.token_hex(8)}"
    try:
        temporary.mkdir(parents=True)
        _unpack(archive, temporary, max(FREE_BYTES, MAX_EXPANSION * status.st_size))
        write_json(temporary / STATE, state)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _same(path: Path, state: _State) -> bool:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_State) == state
    except (OSError, msgspec.DecodeError):
        return False


def _unpack(archive: Path, target: Path, limit: int) -> None:
    total = 0
    try:
        with tarfile.open(archive, mode="r|*", tarinfo=_BoundedHeader) as tar:
            for member in tar:
                if member.isdir():
                    continue
                if not member.isreg():
                    raise UserError(
                        f"{archive}: {member.name!r} is a link or a device and not a plain file; download it again"
                    )
                try:
                    path = inside(target, member.name)
                except UserError as error:
                    raise UserError(f"{archive}: {error}; nothing was unpacked") from error
                total += member.size
                if total > limit:
                    raise UserError(
                        f"{archive}: expands to more than {limit} bytes, {MAX_EXPANSION} times its size; "
                        f"unpack it by hand if you trust it"
                    )
                content = tar.extractfile(member)
                if content is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    _copy(content, path)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"{archive}: is damaged or no tar archive ({error}); download it again") from error


def _copy(content: IO[bytes], path: Path) -> None:
    # Opened exclusively: a second member of the same name would silently replace the first.
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "wb") as file:
            shutil.copyfileobj(content, file, BLOCK_BYTES)
    except FileExistsError as error:
        raise UserError(f"{path.name}: stands twice in the archive; download it again") from error
