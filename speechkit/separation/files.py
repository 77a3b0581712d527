"""Separate recordings of any length into files of tracks, with a manifest and a summary, in constant memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from speechkit.data.audio import cut_blocks
from speechkit.data.listening import sound_notes
from speechkit.data.manifest import write_manifest
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, ConfigError, UserError, shown
from speechkit.io.arrays import Float
from speechkit.io.atomic import write_json
from speechkit.io.audio import audio_info, stream_audio, write_blocks
from speechkit.io.containers import AUDIO_SUFFIXES
from speechkit.io.hashing import digest_file, digest_obj
from speechkit.io.paths import refuse_inputs, safe_id
from speechkit.separation.blocks import separated_blocks
from speechkit.separation.counting import SpeakerCount
from speechkit.separation.inputs import named_inputs, skipped_files, track_names
from speechkit.separation.separate import BLOCK_SECONDS, check_speakers
from speechkit.separation.streaming import DEFAULT_WINDOWING, Windowing, WindowSeparator
from speechkit.separation.voices import Embed, embed_voice

SUMMARY, MANIFEST, RECORD = "separation.json", "tracks.jsonl", "_tracks.json"
VERSION = 1
"""Increased when the same separator and settings give other tracks."""


class TrackOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the tracks of a recording.

    Attributes:
        speakers: number of speakers, if known; counted if None.
        out_rate: sample rate of the tracks in hertz; that of the recording if None.
        audio_format: ``wav`` or ``flac``.
        channel: index of the channel, from 0; None averages all channels. Rows of manifests have their own.
        windowing: how the recording is split into windows.
    """

    speakers: int | None = None
    out_rate: int | None = None
    audio_format: Literal["wav", "flac"] = "wav"
    channel: int | None = None
    windowing: Windowing = DEFAULT_WINDOWING


DEFAULT_OPTIONS = TrackOptions()


class SeparatedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A separated recording.

    Attributes:
        name: stem of its tracks, ``NAME_source1`` and so on.
        mixture: path of the recording, relative to the folder of the tracks if possible.
        tracks: file names, one per speaker, or a single silent one if nobody speaks; empty tracks are not written.
        sample_rate: of the tracks in hertz.
        num_samples: length of each track.
        audio_seconds: duration of the recording.
        seconds: processing time.
        count: number of speakers with its confidence, and where they speak.
        gain: see `Separation`.
        notes: warnings: clipping, silence, uncertain decisions.
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

    ``failed`` gives the reason for each that could not be separated, ``real_time_factor`` is the processing time per
    second of audio, and ``skipped`` gives the reason for each file in the given folders that is not a recording.
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
    """Separate a recording and write its tracks to ``FOLDER/NAME_source1.wav`` and so on, atomically.

    The recording is read in blocks, and its tracks are buffered in a temporary file until the speakers are counted, so
    that memory does not grow with its length.

    Args:
        path: the recording.
        folder: folder of the tracks, created if absent.
        separator: see `speechkit.separation.separate.load_window_separator`.
        name: stem of the tracks; that of the recording if None.
        row: manifest row whose cut and channel are separated; the whole recording if None.
        options: see `TrackOptions`.
        embed: speaker embedding of speech.

    Raises:
        AudioError: if the recording cannot be read to its end, or the format cannot hold a track.
        UserError: if a track cannot be written, or would replace the recording.
        ConfigError: if ``speakers`` or a rate is out of range, or a row is given and ``channel`` is set.
    """
    started = time.perf_counter()
    check_speakers(options.speakers, separator)
    _refuse_channel(row, options)
    info = audio_info(path)
    folder = Path(folder)
    stem = name or safe_id(Path(path).stem)
    for file in track_names(stem, separator.speakers, options.audio_format):
        refuse_inputs(folder / file, [path])

    def read_blocks(rate: int | None) -> Iterator[Float]:
        if row is not None:
            return cut_blocks(path, row, sample_rate=rate, seconds=round(BLOCK_SECONDS))
        return stream_audio(path, sample_rate=rate, block_seconds=BLOCK_SECONDS, channel=options.channel)

    with separated_blocks(
        read_blocks,
        info.sample_rate,
        separator,
        speakers=options.speakers,
        out_rate=options.out_rate,
        windowing=options.windowing,
        embed=embed,
        folder=folder,
    ) as separated:
        count = separated.count
        names = track_names(stem, max(1, count.speakers), options.audio_format)
        for number, file in enumerate(names):
            write_blocks(folder / file, separated.track(number), separated.rate)
    return SeparatedFile(
        name=stem,
        mixture=shown(_relative(Path(path), folder)),
        tracks=names,
        sample_rate=separated.rate,
        num_samples=audio_info(folder / names[0]).num_samples,
        audio_seconds=round(info.duration if row is None else row.duration, 3),
        seconds=round(time.perf_counter() - started, 3),
        count=count,
        gain=separated.gain,
        notes=_notes(read_blocks(None), count, separated.unsure_joins, separated.gain),
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
    """Separate recordings and write their tracks, ``tracks.jsonl`` and ``separation.json``.

    A recording that cannot be read is left out with the reason. Results of an earlier call with the same recording,
    separator and settings are reused, so that an interrupted call resumes.

    Args:
        paths: recordings, folders of them, and manifests.
        folder: output folder; recordings in it are not inputs.
        separator: see `speechkit.separation.separate.load_window_separator`.
        model: name of the separator, for the summary.
        digest: digest of the separator, see `separation_digest`; without it no results are reused.
        options: see `TrackOptions`.
        embed: speaker embedding of speech.
        force: reuse no results.
        reported: called with each separated recording, or with the reason that one was left out.

    Raises:
        UserError: if there is no recording, a track would replace one, or the output cannot be written.
        ConfigError: as `separate_file`.
    """
    check_speakers(options.speakers, separator)
    folder = Path(folder)
    inputs = named_inputs(paths, folder)
    real = {os.path.realpath(item.path) for item in inputs}
    for item in inputs:
        for track in track_names(item.name, separator.speakers, options.audio_format):
            target = folder / track
            refuse_inputs(target, real & {os.path.realpath(target)})  # not all of them for every track
    for _, _, row in inputs:
        _refuse_channel(row, options)
    files: list[SeparatedFile] = []
    failed: dict[str, str] = {}
    for path, name, row in inputs:
        record = folder / f"{name}{RECORD}"
        earlier = _read_record(record)
        try:
            made_of = "" if digest is None else digest_obj([VERSION, digest, options, _digest(path), row])
            if not force and earlier and made_of and earlier.made_of == made_of and _tracks_exist(earlier, folder):
                separated = earlier
            else:
                if not files and not failed:
                    embed(np.zeros(separator.sample_rate, np.float32), separator.sample_rate)  # loads it, untimed
                separated = separate_file(path, folder, separator, name=name, row=row, options=options, embed=embed)
        except AudioError as error:
            failed[shown(path) if row is None else row.id] = str(error)
            reported(f"left out {error}")
            continue
        if separated is not earlier:
            for stale in set(earlier.tracks if earlier else ()) - set(separated.tracks):
                if safe_id(stale) == stale:
                    (folder / stale).unlink(missing_ok=True)
            separated = msgspec.structs.replace(separated, made_of=made_of)
            write_json(record, separated)
        files.append(separated)
        reported(separated)
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
    """Separate a recording, or a folder of them, into a folder of FLAC tracks that holds no other recordings.

    A front end for anything that takes a folder of recordings; recordings of a single speaker are copied.

    Raises:
        UserError: if the separator or the recordings do not exist, or no recording can be read.
    """
    from speechkit.separation.separate import load_window_separator, separation_digest

    named_inputs([audio], Path(folder))
    separator = load_window_separator(model, device)
    options = TrackOptions(audio_format="flac")
    digest = separation_digest(model)
    written = separate_files([audio], folder, separator, model=model, digest=digest, options=options, reported=reported)
    if not written.files:
        first = next(iter(written.failed.values()))
        raise UserError(f"{audio}: no recording can be separated; the first error is {first}")
    wanted = {track for file in written.files for track in file.tracks}
    for path in Path(folder).iterdir():
        if path.suffix.lower() in AUDIO_SUFFIXES and path.name not in wanted:
            path.unlink()
    return written


def track_rows(file: SeparatedFile) -> Iterator[Utterance]:
    """A manifest row per written track; tracks of a mixture share ``custom.recording``."""
    for number, track in enumerate(file.tracks, 1):
        yield Utterance.from_samples(
            id=f"{file.name}_source{number}",
            audio_filepath=track,
            num_samples=file.num_samples,
            sample_rate=file.sample_rate,
            custom=track_origin(file.name, file.mixture, number, file.count),
        )


def track_origin(recording: str, mixture: str, track: int, count: SpeakerCount) -> dict[str, object]:
    """The ``custom`` field of a track's row: its recording, mixture and track number."""
    return {
        "recording": recording,
        "separated": {
            "mixture": mixture,
            "track": track,
            "speakers": count.speakers,
            "confidence": count.confidence,
        },
    }


def _refuse_channel(row: Utterance | None, options: TrackOptions) -> None:
    if row is not None and options.channel is not None:
        raise ConfigError(
            f"{row.id}: channel is {options.channel}, but rows of manifests have their own; leave it out, or change "
            "the manifest"
        )


def _digest(path: Path) -> str:
    try:
        return digest_file(path)
    except UserError as error:  # one unreadable file does not end the call
        raise AudioError(str(error)) from error


def _read_record(path: Path) -> SeparatedFile | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=SeparatedFile)
    except (OSError, msgspec.MsgspecError):
        return None


def _tracks_exist(file: SeparatedFile, folder: Path) -> bool:
    return bool(file.tracks) and all(safe_id(track) == track and (folder / track).is_file() for track in file.tracks)


def _notes(blocks: Iterator[Float], count: SpeakerCount, unsure: int, gain: float) -> list[str]:
    notes = sound_notes(blocks)
    if count.warning:
        notes.append(count.warning)
    if unsure and count.speakers > 1:
        notes.append(f"at {unsure} joins of windows neither overlap nor voice determined the order of the speakers")
    if gain != 1:
        notes.append(f"tracks are scaled by {gain:.3f} so that none exceeds full scale")
    return notes


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(os.path.realpath(path), os.path.realpath(folder))).as_posix()
    except ValueError:  # on another drive (Windows)
        return str(path)
