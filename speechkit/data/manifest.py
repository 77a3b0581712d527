"""Manifests as JSON lines: streamed, strictly typed, and written atomically."""

from __future__ import annotations

import difflib
import gzip
import io
import math
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar, cast, overload

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import ManifestError, UserError
from speechkit.io.atomic import atomic_path

T = TypeVar("T")

MAX_LINE_BYTES = 256 << 20  # typical lines have a few hundred bytes; a longer one is not JSON lines
BUFFER_BYTES = 1 << 18
GZIP_LEVEL = 5


def read_jsonl(path: Path | str, type: type[T], *, on_torn: Callable[[str], None] | None = None) -> Iterator[T]:  # noqa: A002
    """Stream the records of a JSON lines file, optionally ``.gz``.

    Args:
        path: the file; blank lines are skipped.
        type: a msgspec record, or any type msgspec decodes; unknown fields are errors if the record forbids them.
        on_torn: called with the message for a truncated last line (after a crash or a full disk), which is then
            skipped; if None, it is an error.

    Raises:
        ManifestError: with ``file:line:`` and the cause.
    """
    decoder = msgspec.json.Decoder(type)
    decode = decoder.decode
    number = 0
    with _reading(path) as file:
        while True:
            try:
                line = file.readline(MAX_LINE_BYTES)
            except (EOFError, zlib.error, gzip.BadGzipFile, OSError) as error:
                if not isinstance(error, EOFError):
                    raise ManifestError(f"{path}:{number + 1}: cannot be read further: {error}") from error
                _torn(f"{path}:{number + 1}: the compressed file ends early", number, on_torn, error)
                return
            if not line:
                return
            number += 1
            try:
                yield decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if number == 1 and line.startswith(b"\xef\xbb\xbf"):
                    try:
                        yield decode(line[3:])
                    except (msgspec.DecodeError, UnicodeDecodeError) as second:
                        raise _bad_line(path, number, second, type) from second
                    continue
                if not line.strip():
                    continue
                cut_off = not line.endswith(b"\n") and not isinstance(error, msgspec.ValidationError)
                if cut_off and len(line) < MAX_LINE_BYTES and line.lstrip()[:1] in (b"{", b"[", b"\0"):
                    _torn(f"{path}:{number}: the last line is torn ({len(line)} bytes)", number - 1, on_torn, error)
                    return
                raise _bad_line(path, number, error, type) from error
            except RecursionError as error:
                raise ManifestError(f"{path}:{number}: is nested too deeply; remove the line") from error


def write_jsonl(path: Path | str, items: Iterable[Any]) -> int:
    """Write one JSON value per line, atomically and streamed; gzipped if the name ends in ``.gz``. Returns the count.

    Equal items give equal bytes, compressed or not.

    Raises:
        ManifestError: if an item cannot be encoded, with its number.
        UserError: if the file cannot be written.
    """
    return _write_lines(path, items, None)


@overload
def read_manifest(path: Path | str, *, on_torn: Callable[[str], None] | None = None) -> Iterator[Utterance]: ...


@overload
def read_manifest(
    path: Path | str,
    type: type[T],
    *,
    on_torn: Callable[[str], None] | None = None,
) -> Iterator[T]: ...


def read_manifest(
    path: Path | str,
    type: type[Any] = Utterance,  # noqa: A002
    *,
    on_torn: Callable[[str], None] | None = None,
) -> Iterator[Any]:
    """Stream the utterances of a manifest; see `read_jsonl`."""
    return read_jsonl(path, type, on_torn=on_torn)


def unique_ids(rows: Iterable[Any], manifest: Path | str, kind: str = "recording") -> Iterator[Any]:
    """Stream the rows of a manifest, checking that ids are unique.

    Raises:
        UserError: if an id is duplicated.
    """
    known: set[str] = set()
    for row in rows:
        if row.id in known:
            raise UserError(f"{manifest}: duplicate id {row.id!r}; give every {kind} a unique id")
        known.add(row.id)
        yield row


def write_manifest(path: Path | str, records: Iterable[Any]) -> int:
    """Write a manifest atomically; each line is validated by reading it back. Returns the count.

    Raises:
        ManifestError: if a record violates its type (a NaN, a string for a number), with its number and id; nothing is
            written in that case.
        UserError: if the file cannot be written.
    """
    decoders: dict[Any, Callable[[bytes], Any]] = {}

    def verify(record: Any, line: bytes) -> None:
        decode = decoders.get(record.__class__)
        if decode is None:
            known = record.__class__ if isinstance(record, msgspec.Struct) else Any
            decode = decoders[record.__class__] = msgspec.json.Decoder(known).decode
        decode(line)
        # JSON has no NaN or infinity: they become null, which an optional field would read as None.
        if b"null" in line and not _finite(msgspec.to_builtins(record)):
            raise ValueError("holds a NaN or an infinity, which JSON cannot represent; give a number or None")

    return _write_lines(path, records, verify)


def audio_path(manifest: Path | str, utterance: Utterance) -> Path:
    """Resolve the audio path of an utterance against the folder of the manifest."""
    return Path(manifest).parent / utterance.audio_filepath


def rebase(records: Iterable[Utterance], source: Path | str, target: Path | str) -> Iterator[Utterance]:
    """Rebase relative audio paths from manifest folder ``source`` to ``target``; absolute paths are kept."""
    source_folder, target_folder = os.path.realpath(source), os.path.realpath(target)
    if source_folder == target_folder:
        yield from records
        return
    known: dict[str, str] = {}

    def moved(path: str) -> str:
        new = known.get(path)
        if new is None:
            if len(known) > 10_000:
                known.clear()
            absolute = os.path.isabs(path)  # noqa: PTH117 - one call a row, as text
            joined = os.path.join(source_folder, path)  # noqa: PTH118
            new = known[path] = path if absolute else Path(os.path.relpath(joined, target_folder)).as_posix()
        return new

    for record in records:
        features = None if record.features is None else moved(record.features)
        yield msgspec.structs.replace(record, audio_filepath=moved(record.audio_filepath), features=features)


@contextmanager
def _reading(path: Path | str) -> Iterator[IO[bytes]]:
    try:
        file: IO[bytes] = Path(path).open("rb", buffering=BUFFER_BYTES)  # noqa: SIM115 - closed below
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or error}; check the path") from error
    with file:
        try:
            packed = cast("io.BufferedReader", file).peek(2)[:2] == b"\x1f\x8b"
        except OSError as error:
            raise ManifestError(f"{path}: cannot be read: {error.strerror or error}; check the path") from error
        if packed:  # detected from the first bytes, in case the file was renamed
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast("IO[bytes]", io.BufferedReader(cast("io.RawIOBase", unpacked), BUFFER_BYTES))
        else:
            yield file


@contextmanager
def _writing(path: Path | str) -> Iterator[IO[bytes]]:
    with atomic_path(path) as temporary, temporary.open("wb", buffering=BUFFER_BYTES) as file:
        if str(path).endswith(".gz"):
            # The header omits name and time, so that equal content gives equal bytes.
            with gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=file, mtime=0) as packed:
                yield cast("IO[bytes]", packed)
        else:
            yield file


def _write_lines(path: Path | str, items: Iterable[Any], verify: Callable[[Any, bytes], None] | None) -> int:
    encode = msgspec.json.Encoder().encode
    count = 0
    with _writing(path) as file:
        write = file.write
        for item in items:
            count += 1
            try:
                line = encode(item)
                if verify is not None:
                    verify(item, line)
            except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
                name = getattr(item, "id", None)
                shown = f"record {count}" + (f" (id {name!r})" if name is not None else "")
                cause = _message(error, item.__class__).replace("got `null`", "got a NaN, an infinity or None")
                raise ManifestError(f"{path}: {shown}: {cause}; nothing was written") from error
            write(line)
            write(b"\n")
    return count


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(_finite(part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return all(_finite(part) for part in value)
    return True


def _torn(message: str, complete_lines: int, on_torn: Callable[[str], None] | None, cause: Exception) -> None:
    if on_torn is None:
        raise ManifestError(
            f"{message}: its writer was interrupted; write it again, or keep the {complete_lines} complete lines "
            "before it (--recover, or on_torn= in Python)"
        ) from cause
    on_torn(f"{message}; it is left out, and the {complete_lines} complete lines before it are kept")


def _bad_line(path: Path | str, number: int, error: Exception, wanted: Any) -> ManifestError:
    return ManifestError(f"{path}:{number}: {_message(error, wanted)}")


def _message(error: Exception, wanted: Any) -> str:
    """The decoder's message, with a suggestion for a misspelled field name."""
    text = str(error)
    unknown = re.search(r"unknown field `([^`]*)`", text)
    fields = getattr(wanted, "__struct_encode_fields__", ())
    if unknown and " - at " not in text:
        near = difflib.get_close_matches(unknown[1], fields, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "put it under 'custom' or remove it"
        return f"unknown field {unknown[1][:80]!r}; {hint}"
    # msgspec before 0.23 raised UnicodeDecodeError, later versions a DecodeError with that reason.
    if isinstance(error, UnicodeError) or text.startswith("Invalid UTF-8"):
        return f"is not UTF-8 text ({error}); convert the file to UTF-8"
    if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
        return f"is not one JSON value per line ({text}); fix or remove the line"
    return text
