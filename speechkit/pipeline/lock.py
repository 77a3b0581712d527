"""One run at a time on one output folder.

The lock is the kernel's (flock), so that a killed run leaves none. The file also names its holder: some file systems do
not share locks between machines, so a holder on another machine is trusted from the file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from speechkit.errors import UserError
from speechkit.io.atomic import write_error

LOCKS_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock."""

    host: str
    pid: int
    since: str


@contextmanager
def run_lock(folder: Path, shard: tuple[int, int] | None = None) -> Iterator[None]:
    """Hold ``folder`` for a whole run, or for one shard of it.

    A whole run excludes every other run. Shards of one run exclude whole runs and a second run of the same shard.

    Raises:
        UserError: if another run holds it, with its process and machine.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    with _held(folder / "run.lock", folder, exclusive=shard is None):
        if shard is None:
            yield
        else:
            with _held(folder / f"run.shard-{shard[0]}-of-{shard[1]}.lock", folder, exclusive=True, believe=False):
                yield


@contextmanager
def _held(path: Path, folder: Path, *, exclusive: bool, believe: bool = True) -> Iterator[None]:
    try:
        # Opening a link would truncate its target.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"{path}: is a symbolic link, not a lock; remove it") from error
        raise write_error(path, error) from error
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in LOCKS_UNSUPPORTED:
                raise _busy(folder, _read(descriptor)) from error
        holder = _read(descriptor)
        hostname = socket.gethostname()
        # A shard restarted on another machine takes over: its parts are complete or absent.
        if believe and holder is not None and holder.host != hostname:
            raise UserError(
                f"{folder}: a run of {holder.host} (process {holder.pid}) holds this folder since {holder.since}; "
                f"if it is dead, remove {path}"
            )
        if exclusive:
            _write(descriptor, Holder(hostname, os.getpid(), time.strftime("%Y-%m-%dT%H:%M:%S")))
        try:
            yield
        finally:
            if exclusive:
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _busy(folder: Path, holder: Holder | None) -> UserError:
    who = f"process {holder.pid} on {holder.host}, since {holder.since}" if holder else "another run or its shards"
    return UserError(f"{folder}: already in use by {who}; wait for it, stop it, or choose another output folder")


def _read(descriptor: int) -> Holder | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, 4096, 0), type=Holder)
    except msgspec.DecodeError:
        return None


def _write(descriptor: int, holder: Holder) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(holder), 0)
    except OSError:
        pass  # a full disk; the kernel's lock still holds
