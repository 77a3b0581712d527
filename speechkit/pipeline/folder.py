"""A stage's folder: committed results, work in progress, and the rename between them."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import SpeechkitError, UserError
from speechkit.io.atomic import sync_folder, write_error, write_json
from speechkit.io.hashing import DIGEST_BYTES, digest_file, digest_obj
from speechkit.pipeline.content import ContentDigests, digest_tree, walk
from speechkit.pipeline.fingerprint import FOLDER_DIGITS
from speechkit.pipeline.stage import Output, Stage

RECORD = "_stage.json"
CURRENT = "current"
ARRAYS = "arrays"


class Committed(msgspec.Struct, frozen=True):
    """One committed output. ``records`` is given for JSON lines, ``bytes`` and ``digest`` cover arrays too.

    ``pieces`` are the digests of the file and of its folder of arrays, if any.
    """

    digest: str
    bytes: int
    records: int | None = None
    pieces: tuple[str, str] | None = None


class StageRecord(msgspec.Struct, frozen=True):
    """The content of ``_stage.json``. All but ``run`` is independent of who ran the stage."""

    recipe: str
    number: int
    stage: str
    fingerprint: str
    identity: dict[str, Any]
    outputs: dict[str, Committed]
    output_digest: str
    records_in: int | None
    dropped: dict[str, int]
    run: dict[str, Any]


class StageFolder:
    """``exp/<recipe>/<NN-name>`` for one fingerprint."""

    def __init__(self, exp: Path, stage: Stage, fingerprint: str) -> None:
        self.root = exp / stage.folder_name
        self.fingerprint = fingerprint
        self.final = self.root / fingerprint[:FOLDER_DIGITS]
        self.work = self.root / f"{fingerprint[:FOLDER_DIGITS]}.work"

    def make_work(self) -> None:
        """The folder for unfinished work."""
        try:
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(self.work, error) from error

    def clear_temporaries(self) -> None:
        """Remove temporary files of killed runs; requires the run lock."""
        for folder in (self.work, self.work / "arrays"):
            for path in folder.glob(".tmp-*"):
                path.unlink(missing_ok=True)
        for path in self.work.glob("commit-*"):
            shutil.rmtree(path, ignore_errors=True)

    def new_staging(self) -> Path:
        """A new staging folder to be committed; several shards may each have one."""
        staging = self.work / f"commit-{secrets.token_hex(6)}"
        try:
            staging.mkdir(parents=True)
        except OSError as error:
            raise write_error(staging, error) from error
        return staging

    def commit(self, staging: Path, record: StageRecord, *, replace: bool) -> bool:
        """Rename ``staging`` into place; False if another shard was first (its bytes are the same).

        ``replace`` moves an older folder of the same fingerprint away, for a forced run or a damaged result.
        """
        try:
            write_json(staging / RECORD, record)
            for folder in sorted({staging, *(path.parent for _, path in walk(staging))}):
                sync_folder(folder)
            if replace and self.final.exists():
                self.final.rename(self.work / f"commit-old-{secrets.token_hex(6)}")
            try:
                staging.rename(self.final)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                return False
        except OSError as error:
            raise write_error(self.final, error) from error
        sync_folder(self.root)
        return True

    def remove_work(self) -> None:
        """Remove the work folder after its commit; failures are harmless."""
        shutil.rmtree(self.work, ignore_errors=True)


def read_record(folder: Path) -> StageRecord | None:
    """The record of a committed folder, or None if there is none."""
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=StageRecord)
    except (OSError, msgspec.DecodeError):
        return None


def damage(folder: Path, record: StageRecord, declared: Sequence[Output], contents: ContentDigests) -> list[str]:
    """Sentences on outputs of a committed folder that are missing or modified.

    A declared output that was not committed is missing too (a new output without a new version). A file is read again
    only if its size, times or inode differ from those in ``contents``.
    """
    problems = [f"{output.path} is missing" for output in declared if output.path not in record.outputs]
    for name, committed in record.outputs.items():
        path = folder / name
        if not path.exists():
            problems.append(f"{name} is missing")
            continue
        size = size_of(path) + (size_of(folder / ARRAYS) if _has_arrays(folder, name) else 0)
        if size != committed.bytes:
            problems.append(f"{name} has {size} bytes where {committed.bytes} were committed")
        elif _digest(folder, name, contents) != committed.digest:
            problems.append(f"{name} has changed since it was committed")
    return problems


def remember_outputs(folder: Path, record: StageRecord, contents: ContentDigests) -> None:
    """Cache the digests of outputs just committed, for `damage`."""
    measured: dict[Path, str] = {}
    for name, committed in record.outputs.items():
        if committed.pieces is None:
            measured[folder / name] = committed.digest
        else:
            measured[folder / name], measured[folder / ARRAYS] = committed.pieces
    contents.remember(measured)


def _digest(folder: Path, name: str, contents: ContentDigests) -> str:
    digest = contents.digest(folder / name)
    return _with_arrays(digest, contents.digest(folder / ARRAYS)) if _has_arrays(folder, name) else digest


def _with_arrays(records: str, arrays: str) -> str:
    """Combine the digests of records and arrays: later stages are stale if either changes."""
    return hashlib.blake2b((records + arrays).encode(), digest_size=DIGEST_BYTES).hexdigest()


def current_record(root: Path) -> StageRecord | None:
    """The record of a stage's current result."""
    folder = current_folder(root)
    return None if folder is None else read_record(folder)


def current_folder(root: Path) -> Path | None:
    """The folder of a stage's current result, by the pointer of the last run."""
    pointer = root / CURRENT
    try:
        name = os.readlink(pointer) if pointer.is_symlink() else pointer.read_text(encoding="utf-8").strip()  # noqa: PTH115
    except (OSError, UnicodeDecodeError):
        return None
    folder = root / Path(name).name
    return folder if folder.is_dir() else None


def point_to(folder: Path) -> None:
    """Point ``current`` to a committed folder: a relative link, so that a moved exp/ keeps it."""
    pointer = folder.parent / CURRENT
    if current_folder(folder.parent) == folder:
        return
    temporary = folder.parent / f".tmp-{secrets.token_hex(6)}"
    try:
        try:
            temporary.symlink_to(folder.name, target_is_directory=True)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            temporary.write_text(folder.name + "\n", encoding="utf-8")  # a file system without symbolic links
        temporary.replace(pointer)
    except OSError as error:
        raise write_error(pointer, error) from error


def measure_output(folder: Path, output: Output, records: int | None = None, digest: str | None = None) -> Committed:
    """Check one output and measure it; ``records`` and ``digest`` if already known.

    Raises:
        UserError: if it has too few records, or lacks a required kind of record: the input has nothing usable.
        SpeechkitError: if it is missing or empty, or has lines that its schema rejects.
    """
    path = folder / output.path
    if not path.exists():
        raise SpeechkitError(f"{output.path} was not written")
    if path.is_dir():
        digest, size = digest_tree(path), size_of(path)
        if output.min_records and not size:
            raise SpeechkitError(f"{output.path} is an empty folder")
        return Committed(digest, size)
    if output.path.endswith(".jsonl") and records is None:
        records = _check_lines(path, output)
    size = path.stat().st_size
    if records is None:
        if output.min_records and not size:
            raise SpeechkitError(f"{output.path} is empty")
    elif records < output.min_records:
        raise UserError(f"{output.path} has {records} records; at least {output.min_records} are needed")
    _check_holds(path, output)
    if digest is None:
        digest = digest_file(path)
    if _has_arrays(folder, output.path):
        arrays = digest_tree(folder / ARRAYS)
        size += size_of(folder / ARRAYS)
        return Committed(_with_arrays(digest, arrays), size, records, (digest, arrays))
    return Committed(digest, size, records)


def digest_outputs(outputs: dict[str, Committed]) -> str:
    """One digest for everything that a stage committed."""
    return digest_obj({name: committed.digest for name, committed in outputs.items()})


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for _, file in walk(path)) if path.is_dir() else path.stat().st_size


def _has_arrays(folder: Path, name: str) -> bool:
    return name.endswith(".jsonl") and name != "drops.jsonl" and (folder / ARRAYS).is_dir()


def _check_lines(path: Path, output: Output) -> int:
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(output.schema if output.schema is not None else Any)
    records = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                decoder.decode(line)
            except msgspec.DecodeError as error:
                raise SpeechkitError(f"{output.path}:{number} is not a valid record: {error}") from error
            records += 1
    return records


def _check_holds(path: Path, output: Output) -> None:
    missing = set(output.holds)
    if not missing:
        return
    with path.open("rb") as file:
        for line in file:
            record = msgspec.json.decode(line)
            missing -= {(field, value) for field, value in missing if record.get(field) == value}
            if not missing:
                return
    field, value = min(missing)
    raise UserError(f"{output.path} has no record whose {field} is {value}")
