"""WebDataset: tar shards in which each cut is an audio, a text and a JSON file with a common name.

The audio of each cut is stored as FLAC, so offsets into the recordings are not kept; all other fields of a row are in
its JSON. Shards are written without the library and are byte-identical for equal rows.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from speechkit.data.audio import read_cut
from speechkit.data.formats.identity import AbsoluteAudio, FileNames
from speechkit.data.formats.losses import OPTIONAL, Losses, Written
from speechkit.data.records import Utterance
from speechkit.errors import ManifestError
from speechkit.io.atomic import write_bytes, write_error
from speechkit.io.audio import audio_info
from speechkit.io.paths import safe_id

SHARD_CUTS = 1000
MAX_CUT_BYTES = 1 << 30
"""Upper limit of the files of a cut, unpacked."""
AUDIO = ("flac", "wav", "mp3", "ogg", "opus", "m4a")
TEXT = ("txt", "transcript")
NAMES = ("id", "text", "speaker", "lang")
"""Fields that other tools may write as numbers."""


def write_webdataset(records: Iterable[Utterance], path: Path, folder: Path) -> Written:
    """Write a folder of shards ``shard-000000.tar`` with 1000 cuts each.

    Raises:
        AudioError: if an audio file cannot be read.
        ManifestError: if the folder is not empty.
    """
    if path.exists() and any(path.iterdir()):
        raise ManifestError(f"{path}: is not empty; shards of two runs would mix, choose another folder")
    losses, absolute = Losses(frozenset(OPTIONAL) - {"offset", "channel"}), AbsoluteAudio(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".tmp-webdataset-", dir=path.parent))
    names = FileNames()
    shard: tarfile.TarFile | None = None
    try:
        for number, record in enumerate(losses.passing(records)):
            if number % SHARD_CUTS == 0:
                if shard is not None:
                    shard.close()
                shard = tarfile.open(unfinished / f"shard-{number // SHARD_CUTS:06d}.tar", "w")  # noqa: SIM115
            assert shard is not None
            # The name ends at the first dot; the rest is the extension.
            key = names.give(record.id.replace(".", "_"), "")
            for suffix, content in _members(record, absolute.of(record)):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
        if shard is not None:
            shard.close()
        unfinished.chmod(0o755)
        unfinished.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        if shard is not None:
            shard.close()
        shutil.rmtree(unfinished, ignore_errors=True)
    return losses.written(*sorted(path.iterdir()))


def _members(record: Utterance, audio: str) -> Iterator[tuple[str, bytes]]:
    """Suffix and content of each file of a cut."""
    import soundfile

    coded = io.BytesIO()
    soundfile.write(coded, read_cut(audio, record), record.sample_rate, format="FLAC", subtype="PCM_16")
    yield "flac", coded.getvalue()
    row = msgspec.to_builtins(record)
    for name in ("audio_filepath", "offset", "channel"):
        row.pop(name, None)
    yield "json", msgspec.json.encode(row)
    if record.text is not None:
        yield "txt", record.text.encode()


def read_webdataset(path: Path, folder: Path) -> Iterator[Utterance]:
    """Read the cuts of a shard or a folder of shards; their audio is written to ``folder / "audio"``.

    Third-party shards are supported: the JSON may have any fields, or be absent if there is a text file.

    Raises:
        ManifestError: if there are no shards, or a cut has no audio or more than is allowed.
    """
    shards = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    if not shards:
        raise ManifestError(f"{path}: holds no shards (shard-000000.tar)")
    names = FileNames()
    for shard in shards:
        try:
            for key, files in _cuts(shard):
                yield _utterance(key, files, f"{shard}: {key}", folder, names)
        except tarfile.TarError as error:
            raise ManifestError(f"{shard}: is not a complete tar file ({error}); write or download it again") from error


def _cuts(shard: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Name of each cut and its files by suffix; the files of a cut are adjacent."""
    current, files, size = "", dict[str, bytes](), 0
    with tarfile.open(shard) as archive:
        for member in archive:
            if not member.isfile():
                continue
            dot = member.name.find(".", member.name.rfind("/") + 1)
            if dot < 0:
                continue
            key, suffix = member.name[:dot], member.name[dot + 1 :].lower()
            if key != current and files:
                yield current, files
                files, size = {}, 0
            current = key
            if suffix not in (*AUDIO, *TEXT, "json"):
                files.setdefault(suffix, b"")  # pictures, arrays: not read
                continue
            size += member.size
            if size > MAX_CUT_BYTES:
                raise ManifestError(f"{shard}: {key} has more than {MAX_CUT_BYTES} bytes; split it")
            content = archive.extractfile(member)
            files[suffix] = content.read() if content is not None else b""
    if files:
        yield current, files


def _utterance(key: str, files: dict[str, bytes], location: str, folder: Path, names: FileNames) -> Utterance:
    suffix = next((suffix for suffix in AUDIO if suffix in files), None)
    if suffix is None:
        raise ManifestError(f"{location} has no audio ({', '.join(AUDIO)}); leave it out")
    row: dict[str, Any] = msgspec.json.decode(files["json"], type=dict[str, Any]) if "json" in files else {}
    row |= {name: str(row[name]) for name in NAMES if isinstance(row.get(name), int | float)}
    text = next((files[name].decode("utf-8") for name in TEXT if name in files), None)
    identifier = row.pop("id", None) or safe_id(key)
    audio = Path("audio") / names.give(identifier, f".{suffix}")
    write_bytes(folder / audio, files[suffix])
    header = audio_info(folder / audio)
    fields = {name: row.pop(name) for name in OPTIONAL if name in row and name not in ("offset", "channel")}
    for name in ("audio_filepath", "duration", "sample_rate", "offset", "channel"):
        row.pop(name, None)
    if text is not None:
        fields.setdefault("text", text)
    if row:
        fields["custom"] = {**row, **(fields.get("custom") or {})}
    fields |= {"id": identifier, "audio_filepath": str(audio)}
    return msgspec.convert({**fields, "duration": header.duration, "sample_rate": header.sample_rate}, Utterance)
