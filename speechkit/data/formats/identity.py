"""Build utterances from formats without ids, sample rates or exact times."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechkit.data.records import Utterance
from speechkit.errors import ManifestError
from speechkit.io.audio import audio_info
from speechkit.io.paths import safe_id

# Other tools round seconds to two or three digits; cuts that exceed the file by less than this are shortened.
ROUNDING_SECONDS = 0.05
FOLDERS_KNOWN = 10_000


class Identifiers:
    """Generates ids from audio file and offset, with a number if repeated."""

    def __init__(self) -> None:
        self.times_seen: dict[str, int] = {}

    def give(self, audio: str, offset_samples: int) -> str:
        """Create a unique id."""
        name = safe_id(Path(audio).with_suffix("").as_posix().strip("./").replace("/", "-"))
        if offset_samples:
            name = f"{name}-{offset_samples:09d}"
        count = self.times_seen.get(name, 0)
        self.times_seen[name] = count + 1
        return f"{name}-{count + 1}" if count else name


class FileNames:
    """Generates unique file names from ids; repeated names get a number."""

    def __init__(self) -> None:
        self.times_seen: dict[str, int] = {}

    def give(self, identifier: str, suffix: str) -> str:
        """Create a unique file name."""
        name = safe_id(identifier)
        # Some file systems are case-insensitive.
        count = self.times_seen.get(name.casefold(), 0)
        self.times_seen[name.casefold()] = count + 1
        return f"{name}~{count + 1}{suffix}" if count else f"{name}{suffix}"


def utterance_from_seconds(
    location: str,
    audio: Path,
    *,
    offset: float = 0.0,
    duration: float | None = None,
    sample_rate: int | None = None,
    **fields: Any,
) -> Utterance:
    """Build an utterance with times rounded to samples; ``fields`` must include audio_filepath and id.

    The header of ``audio`` is read if the rate or the duration is missing.

    Raises:
        ManifestError: naming ``location`` (file:line) if the cut is outside the audio.
        AudioError: if the audio is needed and cannot be read.
    """
    if not (offset >= 0 and offset < float("inf")) or (duration is not None and not 0 <= duration < float("inf")):
        raise ManifestError(f"{location}: offset {offset} or duration {duration} is invalid; give seconds from 0")
    if sample_rate is None or duration is None:
        header = audio_info(audio)
        rate, total = header.sample_rate, header.num_samples
        begin = round(offset * rate)
        length = total - begin if duration is None else round(duration * rate)
        beyond = begin + length - total
        if beyond > ROUNDING_SECONDS * rate or begin > total:
            raise ManifestError(
                f"{location}: the cut ends at {(begin + length) / rate:.3f} s, but {audio} at {total / rate:.3f} s; "
                "fix the offset or duration"
            )
        length -= max(beyond, 0)
    else:
        rate, begin, length = sample_rate, round(offset * sample_rate), round(duration * sample_rate)
    return Utterance.from_samples(offset_samples=begin, num_samples=length, sample_rate=rate, **fields)


def utterance_from_fields(
    location: str,
    root: Path,
    audio: str,
    fields: Mapping[str, Any],
    folder: Path | str,
    identifiers: Identifiers,
) -> Utterance:
    """Build an utterance from a row with some of its fields.

    Args:
        location: file and line, for error messages.
        root: folder that the row's audio path is relative to.
        audio: audio path of the row; absolute paths are kept.
        fields: other fields of the row; converted to the record's types.
        folder: folder of the target manifest.
        identifiers: generates ids for rows without one.

    Raises:
        ManifestError: naming ``location`` if the cut is outside the audio.
        AudioError: if the audio is needed and cannot be read.
    """
    full = root / audio
    known = dict(fields)
    # The rate is unknown until the header is read, so milliseconds are used instead of samples.
    identifier = known.pop("id", None) or identifiers.give(audio, round(known.get("offset", 0.0) * 1000))
    shown = audio if Path(audio).is_absolute() else relative_audio(folder, full)
    return utterance_from_seconds(location, full, id=identifier, audio_filepath=shown, **known)


class AbsoluteAudio:
    """Resolves audio paths of records to absolute paths, for formats that require them.

    Links are resolved, once per folder.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = os.fspath(folder)
        self._real: dict[str, str] = {}
        self._last = ("", "")

    def of(self, record: Utterance) -> str:
        """Absolute audio path of a record."""
        path = record.audio_filepath
        if path != self._last[0]:
            parent, name = os.path.split(os.path.join(self._folder, path))  # noqa: PTH118 - as text, for speed
            if name in ("", ".", ".."):
                self._last = path, os.path.realpath(os.path.join(parent, name))  # noqa: PTH118
                return self._last[1]
            if parent not in self._real:
                if len(self._real) > FOLDERS_KNOWN:
                    self._real.clear()
                self._real[parent] = os.path.realpath(parent)
            full = os.path.join(self._real[parent], name)  # noqa: PTH118
            self._last = path, os.path.realpath(full) if os.path.islink(full) else full  # noqa: PTH114
        return self._last[1]


def relative_audio(folder: Path | str, audio: Path | str) -> str:
    """Audio path relative to the folder of a manifest."""
    return Path(os.path.relpath(os.path.realpath(audio), os.path.realpath(folder))).as_posix()
