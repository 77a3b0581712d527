"""Recordings to files of tracks, with a manifest and what was found; a recording of any length in flat memory."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Literal

import msgspec
import numpy as np

from speechkit.data.audio import cut_blocks
from speechkit.data.listening import sound_notes
from speechkit.data.manifest import write_manifest
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, UserError, shown
from speechkit.io.arrays import Float
from speechkit.io.atomic import write_error, write_json
from speechkit.io.audio import audio_info, stream_audio, write_blocks
from speechkit.io.containers import AUDIO_SUFFIXES
from speechkit.io.hashing import digest_file, digest_obj
from speechkit.io.paths import safe_id
from speechkit.separation.counting import SpeakerCount
from speechkit.separation.inputs import NamedInput, named_inputs, refuse_overwriting, skipped_files
from speechkit.separation.separate import BLOCK_SECONDS, check_speakers, counted, in_order, stream_tracks, unsure_joins
from speechkit.separation.streaming import DEFAULT_WINDOWING, SeparationStream, Windowing, WindowSeparator
from speechkit.separation.voices import Embed, embed_voice

READ_SAMPLES = 1 << 18
SUMMARY, MANIFEST, RECORD = "separation.json", "tracks.jsonl", "_tracks.json"
VERSION = 1
"""Goes up when the same separator and settings give other tracks."""


class TrackOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked of the tracks of a recording.

    Attributes:
        speakers: the number, where it is known; counted when None.
        out_rate: of the tracks in hertz; that of the recording when None.
        audio_format: ``wav`` or ``flac``.
        channel: from 0; None averages all channels.
        windowing: how the recording is cut.
    """

    speakers: int | None = None
    out_rate: int | None = None
    audio_format: Literal["wav", "flac"] = "wav"
    channel: int | None = None
    windowing: Windowing = DEFAULT_WINDOWING


DEFAULT_OPTIONS = TrackOptions()


class SeparatedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """One recording and what came of it.

    Attributes:
        name: of its tracks: ``NAME_source1`` and so on.
        mixture: its path, relative to the folder of the tracks where that can be.
        tracks: file names, one a speaker, or one silent one where nobody speaks; empty tracks are not written.
        sample_rate: of the tracks in hertz.
        num_samples: of each track.
        audio_seconds: length of the recording.
        seconds: of work on it.
        count: how many speak, how sure that is, and where.
        gain: see `Separation`.
        notes: what a listener should know: clipped, silent, unsure.
        made_of: digest of the recording, the separator and the settings.
    """

    name: str
    mixture: str
    tracks: list[str]
    sample_rate: int
    num_samples: int
    audio_seconds: float
    seconds: float
    count: SpeakerCount
    gain: float = 1.0
    notes: list[str] = []
    made_of: str = ""


class SeparatedSet(msgspec.Struct, frozen=True):
    """All recordings of a call.

    ``failed`` has the reason for each that could not be separated, ``real_time_factor`` the seconds of work a second,
    ``skipped`` what lies in given folders and is no recording, and why.
    """

    folder: str
    model: str
    files: list[SeparatedFile]
    failed: dict[str, str]
    audio_seconds: float
    seconds: float
    real_time_factor: float | None
    skipped: dict[str, str] = {}


def separate_file(
    path: Path | str,
    folder: Path | str,
    separator: WindowSeparator,
    *,
    name: str | None = None,
    row: Utterance | None = None,
    options: TrackOptions = DEFAULT_OPTIONS,
    embed: Embed = embed_voice,
) -> SeparatedFile:
    """Write the tracks of a recording to ``FOLDER/NAME_source1.wav`` and so on, each whole or not at all.

    The recording is read in blocks and its tracks wait in a nameless file on the disk until the speakers are counted,
    so that memory does not grow with its length.

    Args:
        path: the recording.
        folder: where the tracks go; made if absent.
        separator: see `speechkit.separation.separate.load_window_separator`.
        name: of the tracks; the recording's own without its suffix when None.
        row: of a manifest, whose cut and channel are separated; the whole recording when None.
        options: see `TrackOptions`.
        embed: whose voice speech has.

    Raises:
        AudioError: if the recording cannot be read to its end, or a track cannot be held by the format.
        UserError: if a track cannot be written, or would replace the recording.
        ConfigError: if ``speakers`` or a rate is not possible.
    """
    started = time.perf_counter()
    check_speakers(options.speakers, separator)
    info = audio_info(path)
    folder = Path(folder)
    target = NamedInput(Path(path), name or safe_id(Path(path).stem))
    refuse_overwriting([target], folder, options.audio_format, separator.speakers)
    stream = SeparationStream(
        separator, info.sample_rate, out_rate=options.out_rate, windowing=options.windowing, embed=embed
    )

    def own_blocks(rate: int | None) -> Iterator[Float]:
        if row is not None:
            return cut_blocks(path, row, sample_rate=rate, seconds=round(BLOCK_SECONDS))
        return stream_audio(path, sample_rate=rate, block_seconds=BLOCK_SECONDS, channel=options.channel)

    with _waiting_room(folder) as room:
        peaks, mixture_peak = np.zeros(separator.speakers), 0.0
        for tracks in stream_tracks(stream, own_blocks(None)):
            peaks = np.maximum(peaks, np.abs(tracks).max(1, initial=0.0))
            _write_waiting(room, tracks, folder)
        count = counted(stream, options.speakers)
        if count.speakers == 1:
            offset = np.float32(stream.offset)
            mixture_peak = max(float(np.abs(block - offset).max(initial=0.0)) for block in own_blocks(stream.out_rate))
        peak = mixture_peak if count.speakers == 1 else float(peaks[count.tracks].max(initial=0.0))
        gain = 1.0 / peak if peak > 1 else 1.0
        names = [f"{target.name}_source{track + 1}.{options.audio_format}" for track in range(max(1, count.speakers))]
        for place, file in enumerate(names):
            if count.speakers == 1:
                blocks = ((block - offset) * np.float32(gain) for block in own_blocks(stream.out_rate))
            else:
                track = count.tracks[place] if count.tracks else 0
                blocks = (
                    block[:, track] * np.float32(gain if count.tracks else 0.0)
                    for block in _waiting(room, separator.speakers)
                )
            write_blocks(folder / file, blocks, stream.out_rate)
    return SeparatedFile(
        name=target.name,
        mixture=shown(_relative(Path(path), folder)),
        tracks=names,
        sample_rate=stream.out_rate,
        num_samples=audio_info(folder / names[0]).num_samples,
        audio_seconds=round(info.duration if row is None else row.duration, 3),
        seconds=round(time.perf_counter() - started, 3),
        count=in_order(count),
        gain=gain,
        notes=_notes(own_blocks(None), count, unsure_joins(stream), gain),
    )


def separate_files(
    paths: Sequence[Path | str],
    folder: Path | str,
    separator: WindowSeparator,
    *,
    model: str = "",
    digest: str | None = None,
    options: TrackOptions = DEFAULT_OPTIONS,
    embed: Embed = embed_voice,
    force: bool = False,
    reported: Callable[[SeparatedFile | str], None] = lambda _: None,
) -> SeparatedSet:
    """Separate recordings, or all in folders; write their tracks, ``tracks.jsonl`` and ``separation.json``.

    A recording that cannot be read is left out with the reason, and the others are done. What an earlier call made of
    the same recording, separator and settings is kept, so that an interrupted call goes on.

    Args:
        paths: recordings, folders of them, and manifests.
        folder: where everything is written; what lies in it already is no input.
        separator: see `speechkit.separation.separate.load_window_separator`.
        model: its name, for the record.
        digest: what the name stands for, see `separation_digest`; without it nothing is kept.
        options: see `TrackOptions`.
        embed: whose voice speech has.
        force: keep nothing.
        reported: is told each recording that is done, or why one was left out.

    Raises:
        UserError: if there is no recording, a track would replace one, or the disk cannot be written.
        ConfigError: as `separate_file`.
    """
    check_speakers(options.speakers, separator)
    folder = Path(folder)
    inputs = named_inputs(paths, folder)
    refuse_overwriting(inputs, folder, options.audio_format, separator.speakers)
    files: list[SeparatedFile] = []
    failed: dict[str, str] = {}
    for path, name, row in inputs:
        record = folder / f"{name}{RECORD}"
        before = _read_record(record)
        try:
            made_of = "" if digest is None else digest_obj([VERSION, digest, options, _digest(path), row])
            if not force and before and made_of and before.made_of == made_of and _all_there(before, folder):
                done = before
            else:
                if not files and not failed:
                    embed(np.zeros(separator.sample_rate, np.float32), separator.sample_rate)  # loads it, untimed
                done = separate_file(path, folder, separator, name=name, row=row, options=options, embed=embed)
        except AudioError as error:
            failed[shown(path) if row is None else row.id] = str(error)
            reported(f"left out {error}")
            continue
        if done is not before:
            for stale in set(before.tracks if before else ()) - set(done.tracks):
                if safe_id(stale) == stale:
                    (folder / stale).unlink(missing_ok=True)
            done = msgspec.structs.replace(done, made_of=made_of)
            write_json(record, done)
        files.append(done)
        reported(done)
    audio_seconds, seconds = sum(file.audio_seconds for file in files), sum(file.seconds for file in files)
    written = SeparatedSet(
        folder=shown(folder),
        model=model,
        files=files,
        failed=failed,
        audio_seconds=round(audio_seconds, 3),
        seconds=round(seconds, 3),
        real_time_factor=round(seconds / audio_seconds, 4) if audio_seconds else None,
        skipped=skipped_files(paths, folder),
    )
    write_manifest(folder / MANIFEST, (row for file in files for row in track_rows(file)))
    write_json(folder / SUMMARY, written)
    return written


def separated_recordings(
    audio: Path | str,
    folder: Path | str,
    model: str = "embedded",
    device: str = "auto",
    reported: Callable[[SeparatedFile | str], None] = lambda _: None,
) -> SeparatedSet:
    """The tracks of a recording or of a folder of them as FLAC in a folder that afterwards holds no other recording.

    It is a front end for whatever takes a folder of recordings; a lone speaker's recording comes back as it is.

    Raises:
        UserError: if the separator or the recordings are not there, or none of them can be read.
    """
    from speechkit.separation.separate import load_window_separator, separation_digest

    named_inputs([audio], Path(folder))
    separator = load_window_separator(model, device)
    options = TrackOptions(audio_format="flac")
    digest = separation_digest(model)
    written = separate_files([audio], folder, separator, model=model, digest=digest, options=options, reported=reported)
    if not written.files:
        first = next(iter(written.failed.values()))
        raise UserError(f"{audio}: no recording can be separated; the first one, {first}")
    wanted = {track for file in written.files for track in file.tracks}
    for path in Path(folder).iterdir():
        if path.suffix.lower() in AUDIO_SUFFIXES and path.name not in wanted:
            path.unlink()
    return written


def track_rows(file: SeparatedFile) -> Iterator[Utterance]:
    """A row of a manifest for each track that was written; ``custom.recording`` keeps those of a mixture together."""
    for place, track in enumerate(file.tracks, 1):
        yield Utterance.from_samples(
            id=f"{file.name}_source{place}",
            audio_filepath=track,
            num_samples=file.num_samples,
            sample_rate=file.sample_rate,
            custom=track_origin(file.name, file.mixture, place, file.count),
        )


def track_origin(recording: str, mixture: str, track: int, count: SpeakerCount) -> dict[str, object]:
    """What the row of a track says of where it came from."""
    return {
        "recording": recording,
        "separated": {
            "mixture": mixture,
            "track": track,
            "speakers": count.speakers,
            "confidence": count.confidence,
        },
    }


def _digest(path: Path) -> str:
    try:
        return digest_file(path)
    except UserError as error:  # a file of its own that cannot be opened
        raise AudioError(str(error)) from error


def _read_record(path: Path) -> SeparatedFile | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=SeparatedFile)
    except (OSError, msgspec.MsgspecError):
        return None


def _all_there(file: SeparatedFile, folder: Path) -> bool:
    return bool(file.tracks) and all(safe_id(track) == track and (folder / track).is_file() for track in file.tracks)


def _waiting_room(folder: Path) -> IO[bytes]:
    """A file without a name: it is gone with the process, however that ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise write_error(folder, error) from error


def _write_waiting(room: IO[bytes], tracks: Float, folder: Path) -> None:
    try:
        room.write(np.ascontiguousarray(tracks.T).tobytes())
    except OSError as error:
        raise write_error(folder, error) from error


def _waiting(room: IO[bytes], tracks: int) -> Iterator[Float]:
    """The tracks that wait, in blocks (n, N)."""
    room.seek(0)
    while block := room.read(READ_SAMPLES * 4 * tracks):
        yield np.frombuffer(block, np.float32).reshape(-1, tracks)


def _notes(blocks: Iterator[Float], count: SpeakerCount, unsure: int, gain: float) -> list[str]:
    notes = sound_notes(blocks)
    if count.warning:
        notes.append(count.warning)
    if unsure and count.speakers > 1:
        notes.append(f"at {unsure} joins in silence neither overlap nor voice told the speakers apart")
    if gain != 1:
        notes.append(f"tracks were multiplied by {gain:.3f} so that none exceeds full scale")
    return notes


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(os.path.realpath(path), os.path.realpath(folder))).as_posix()
    except ValueError:  # on another drive of Windows
        return str(path)
