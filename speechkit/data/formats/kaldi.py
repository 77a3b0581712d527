"""Kaldi data directories: wav.scp, segments, text, utt2spk, spk2utt, utt2lang, sorted in byte order.

A directory stores ids without spaces, times, text on one line, speaker, language and channel. It cannot represent
alignment, units, features, score, source or custom. Kaldi requires the speaker as prefix of the utterance id; it is
prepended where it is missing, and the file ``utt2id`` stores the original ids of those changed.
"""

from __future__ import annotations

import heapq
import re
import shlex
import tempfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import IO

import msgspec

from speechkit.data.formats.identity import AbsoluteAudio, relative_audio, utterance_from_seconds
from speechkit.data.formats.kaldi_commands import audio_of_command
from speechkit.data.formats.losses import Losses, Written
from speechkit.data.recordings import channel_id
from speechkit.data.records import Utterance, seconds
from speechkit.errors import AudioError, ManifestError
from speechkit.io.atomic import atomic_path
from speechkit.io.audio import audio_info
from speechkit.io.hashing import digest_bytes
from speechkit.io.paths import safe_id

HELD = frozenset({"offset", "channel", "text", "speaker", "lang"})
FILES = ("utt2spk", "wav.scp", "segments", "text", "spk2utt", "utt2lang", "utt2id")
UNPRINTABLE = re.compile(r"[\s\x00-\x20\x7f-\xa0]+")


def write_kaldi(records: Iterable[Utterance], path: Path, folder: Path) -> Written:
    """Write a Kaldi data directory; relative audio paths of the records refer to ``folder``.

    Audio paths become absolute, because Kaldi resolves them against its working directory.

    Raises:
        ManifestError: if an audio path contains a line break, which wav.scp cannot represent.
    """
    losses = Losses(HELD)
    tables = {name: SortedLines() for name in FILES}
    absolute = AbsoluteAudio(folder)
    named: dict[str, str] = {}
    listed: set[str] = set()
    for record in losses.passing(records):
        speaker = _token(record.speaker) if record.speaker else None
        plain = _token(record.id)
        utterance = plain if speaker is None or plain.startswith(f"{speaker}-") else f"{speaker}-{plain}"
        if utterance != record.id:
            tables["utt2id"].add(f"{utterance} {msgspec.json.encode(record.id).decode()}")
        if record.speaker and speaker != record.speaker:
            losses.changed["speaker, characters that Kaldi cannot hold"] += 1
        audio = absolute.of(record)
        recording = safe_id(Path(record.audio_filepath).as_posix().replace("../", ""))
        if named.setdefault(recording, audio) != audio:  # files of the same name in two folders
            recording = safe_id(audio)
        if record.channel:
            recording = channel_id(recording, record.channel)
        if recording not in listed:
            listed.add(recording)
            tables["wav.scp"].add(f"{recording} {_command(audio, record)}")
        end = record.offset_samples + record.num_samples
        times = (seconds(record.offset_samples, record.sample_rate), seconds(end, record.sample_rate))
        tables["segments"].add(f"{utterance} {recording} {times[0]:.7f} {times[1]:.7f}")
        tables["utt2spk"].add(f"{utterance} {speaker or utterance}")
        tables["spk2utt"].add(f"{speaker or utterance} {utterance}")
        if record.text is None:
            losses.changed["text missing, no line in the file text"] += 1
        else:
            text = " ".join(record.text.split())
            if text != record.text:
                losses.changed["text, spaces and line ends"] += 1
            tables["text"].add(f"{utterance} {text}")
        if record.lang:
            tables["utt2lang"].add(f"{utterance} {_token(record.lang)}")
    return losses.written(*_write_tables(path, tables))


def _write_tables(path: Path, tables: dict[str, SortedLines]) -> list[Path]:
    written = []
    for name, lines in tables.items():
        ordered: Iterable[bytes] = lines
        if name == "utt2spk":  # written first: if it fails, no other table exists
            ordered = _each_once(path, lines)
        if name == "spk2utt":
            pairs = (line.split() for line in lines)
            ordered = (
                b" ".join([speaker, *(pair[1] for pair in group)]) + b"\n"
                for speaker, group in groupby(pairs, key=lambda pair: pair[0])
            )
        first = next(iterator := iter(ordered), None)
        if first is None:
            (path / name).unlink(missing_ok=True)  # from an earlier run: it would be read as part of this one
            continue
        with atomic_path(path / name) as temporary, temporary.open("wb") as file:
            file.write(first)
            file.writelines(iterator)
        written.append(path / name)
    return written


def _each_once(path: Path, lines: Iterable[bytes]) -> Iterator[bytes]:
    last = b""
    for line in lines:
        utterance = line.split(b" ", 1)[0]
        if utterance == last:
            raise ManifestError(f"{path}: two utterances would have the id {utterance.decode()!r}; give them other ids")
        last = utterance
        yield line


def read_kaldi(path: Path, folder: Path) -> Iterator[Utterance]:
    """Read a Kaldi data directory for a manifest in ``folder``, in the order of utt2spk or segments.

    A command in wav.scp is parsed for the audio file that it reads (sox, ffmpeg, flac, sph2pipe), and never executed.
    The sorted tables are merged line by line, so that only the recordings are held in memory.

    Raises:
        ManifestError: with ``file:line`` if a table is missing, unsorted or contradicts another.
    """
    recordings: dict[str, tuple[str, int]] = {}
    for location, key, value in _table(path / "wav.scp", required=True):
        if key in recordings:
            raise ManifestError(f"{location}: {key!r} is listed twice; remove one of the lines")
        recordings[key] = _audio_of(location, value, path)
    has_segments = (path / "segments").is_file()
    optional = [_Side(path / name) for name in ("text", "utt2spk", "utt2lang", "utt2id")]
    source = path / "segments" if has_segments else path / "wav.scp"
    last = b""
    for location, utterance, value in _table(source, required=True):
        if utterance.encode() <= last:
            raise ManifestError(f"{location}: {utterance!r} is not in byte order; run: LC_ALL=C sort -u on the tables")
        last = utterance.encode()
        text, speaker, lang, identifier = (side.value(utterance) for side in optional)
        offset, duration = 0.0, None
        recording = utterance
        if has_segments:
            parts = value.split()
            try:
                recording, begin, end = parts[0], float(parts[1]), float(parts[2])
            except (IndexError, ValueError) as error:
                raise ManifestError(f"{location}: is not 'utterance recording begin end'; fix the line") from error
            offset, duration = begin, (None if end < 0 else end - begin)
        if recording not in recordings:
            raise ManifestError(f"{location}: recording {recording!r} is not in {path / 'wav.scp'}; add it there")
        audio, channel = recordings[recording]
        row = utterance_from_seconds(
            location,
            path / audio if not Path(audio).is_absolute() else Path(audio),
            offset=offset,
            duration=duration,
            id=_original(path, identifier) if identifier else utterance,
            audio_filepath=relative_audio(folder, path / audio),
            channel=channel,
            text=text,
            speaker=None if speaker == utterance else speaker,
            lang=lang,
        )
        yield row
    for side in optional:
        side.finish()


class _Side:
    """A sorted table, read in step with the utterances (merge join)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = _table(path, required=False)
        self.row = next(self.rows, None)

    def value(self, key: str) -> str | None:
        if self.row is None or self.row[1] != key:
            if self.row is not None and self.row[1].encode() < key.encode():
                raise ManifestError(f"{self.row[0]}: {self.row[1]!r} is no utterance or not in byte order; fix it")
            return None
        value = self.row[2]
        self.row = next(self.rows, None)
        return value

    def finish(self) -> None:
        if self.row is not None:
            raise ManifestError(f"{self.row[0]}: {self.row[1]!r} is no utterance or not in byte order; fix it")


def _table(path: Path, *, required: bool) -> Iterator[tuple[str, str, str]]:
    """``(file:line, key, rest)`` of each line."""
    if not path.is_file():
        if required:
            raise ManifestError(f"{path}: is missing; a Kaldi data directory needs it")
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            location = f"{path}:{number}"
            try:
                text = line.decode("utf-8").rstrip("\n")
            except UnicodeDecodeError as error:
                raise ManifestError(f"{location}: is not UTF-8 text; convert the file") from error
            key, _, value = text.partition(" ") if "\t" not in text.split(" ", 1)[0] else text.partition("\t")
            if not key:
                raise ManifestError(f"{location}: begins with a space; fix the line")
            yield location, key, value.strip(" \t\r")


def _original(path: Path, text: str) -> str:
    try:
        return msgspec.json.decode(text, type=str)
    except msgspec.MsgspecError as error:
        raise ManifestError(f"{path / 'utt2id'}: {text!r} is not a quoted identifier; fix the line") from error


def _token(text: str) -> str:
    """Convert text to a Kaldi id without spaces; if changed, a digest is appended to avoid collisions."""
    token = UNPRINTABLE.sub("_", text)
    return token if token == text else f"{token}-{digest_bytes(text.encode())[:8]}"


def _command(audio: str, record: Utterance) -> str:
    """Extended filename for Kaldi: the path of a mono WAV, otherwise a sox pipe that selects the channel."""
    if "\n" in audio or "\r" in audio:
        raise ManifestError(f"{audio!r}: wav.scp cannot hold a path with a line end; rename the file")
    plain = audio.lower().endswith(".wav") and audio == audio.strip() and not audio.endswith("|")
    if plain and not record.channel and _wav_channels(audio) == 1:
        return audio
    return f"sox {shlex.quote(audio)} -t wav - remix {record.channel + 1} |"


def _wav_channels(audio: str) -> int:
    """Channels of a WAV file, from its first bytes if possible: a corpus may have one file per sentence."""
    try:
        with Path(audio).open("rb") as file:
            head = file.read(24)
    except (OSError, ValueError):
        return 1  # as `_channels`
    if head[:4] == b"RIFF" and head[8:16] == b"WAVEfmt ":
        return int.from_bytes(head[22:24], "little")
    return _channels(audio)


def _channels(audio: str) -> int:
    """Channels from the header; mono if the audio is not available, as when converting on another machine."""
    try:
        return audio_info(audio).channels
    except AudioError:
        return 1


def _audio_of(location: str, value: str, folder: Path) -> tuple[str, int]:
    """Audio path and channel of an extended filename, without executing anything."""
    if not value:
        raise ManifestError(f"{location}: has no path; fix the line")
    if not value.endswith("|"):
        return value, 0
    return audio_of_command(location, value[:-1], lambda audio: _channels(str(folder / audio)))


LINES_IN_MEMORY = 100_000


class SortedLines:
    """External sort of lines in byte order (C locale); beyond 100,000 lines, sorted runs are kept in files."""

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder
        self.lines: list[bytes] = []
        self.runs: list[IO[bytes]] = []

    def add(self, line: str) -> None:
        """Add a line, without its newline."""
        self.lines.append(line.encode() + b"\n")
        if len(self.lines) >= LINES_IN_MEMORY:
            self.lines.sort()
            run = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - closed in __iter__
            run.writelines(self.lines)
            run.seek(0)
            self.runs.append(run)
            self.lines = []

    def __iter__(self) -> Iterator[bytes]:
        """All lines in order; can be iterated once."""
        self.lines.sort()
        yield from heapq.merge(*self.runs, self.lines)
        for run in self.runs:
            run.close()
