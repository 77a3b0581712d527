"""Samples out of an audio file by position: the same samples however the file is cut into pieces.

libsndfile decodes WAV, FLAC, OGG Vorbis, Opus and MP3. Its seek in MP3 and Opus lands on the right sample, but the
decoder starts there without its past (bit reservoir, prediction), so the first samples differ from those of a whole
read by up to 0.05 of full scale. A piece of a lossy file is therefore decoded from the start of the file when that is
near, and otherwise from some seconds before it, which leaves 1e-7 in MP3 and 2e-3 in Opus.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from speechkit.errors import AudioError
from speechkit.io import containers
from speechkit.io.arrays import Float

BLOCK_VALUES = 1 << 20  # 4 MB of float32 a block, whatever the header says of channels
WHOLE_DECODE_SECONDS = 60.0
PREROLL_SECONDS = 2.0
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000
LOSSY_FORMATS = ("MP3", "OGG")
# Lengths that writers to a pipe leave in a WAV header because they cannot go back.
STREAMED_LENGTHS = (0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF)


class Layout(msgspec.Struct, frozen=True):
    """How a file is decoded: ``decoded`` is the file that libsndfile opens, the audio itself or a decoded copy."""

    decoded: str
    sample_rate: int
    num_samples: int
    channels: int
    format: str
    seekable_exactly: bool


def layout(path: Path | str) -> Layout:
    """Read the headers of an audio file, once for each version of it on the disk.

    Raises:
        AudioError: if the file is missing, empty, shorter than its header says, or not audio.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - also takes plain text
    except (OSError, ValueError) as error:  # no file has a name with a NUL
        raise AudioError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not Path(path).is_file():
        raise AudioError(f"{path}: is not a file; give the path of an audio file")
    if found.st_size == 0:
        raise AudioError(f"{path}: is empty (0 bytes); record or download it again")
    return _layout(os.fspath(path), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=4096)
def _layout(path: str, size: int, changed: int) -> Layout:
    container = containers.sniff(path)
    decoded = containers.decoded_copy(path, container) if container else path
    try:
        with _opened(decoded) as file:
            file_format = container or str(file.format)
            sample_rate, frames, channels = int(file.samplerate), int(file.frames), int(file.channels)
            subtype = str(file.subtype)
    except AudioError as error:
        raise AudioError(f"{path}: {_reason(path, error)}") from error
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError(f"{path}: its header gives a sample rate of {sample_rate} Hz; convert it to 8 to 192 kHz")
    lossy = container is None and (file_format in LOSSY_FORMATS or "MPEG" in subtype)
    if container is None:
        _check_complete(path, size, file_format)
    if frames <= 0 or frames > 1 << 40 or ("MPEG" in subtype and not _states_length(path)):
        # The header does not know: an MP3 without a Xing, Info or VBRI tag, a FLAC written to a pipe.
        frames = sum(len(block) for block in _blocks(decoded, channels))
    if frames == 0:
        raise AudioError(f"{path}: holds no samples; record or download it again")
    return Layout(decoded, sample_rate, frames, channels, file_format, not lossy)


def decode(path: Path | str, start: int = 0, num_samples: int | None = None) -> Iterator[Float]:
    """Blocks of the samples ``start`` to ``start + num_samples``, each float32 (samples, channels).

    Raises:
        AudioError: if the file ends before its header says, or holds NaN or infinite samples.
    """
    plan = layout(path)
    num_samples = plan.num_samples - start if num_samples is None else num_samples
    if num_samples == 0:
        return
    first = start
    if not plan.seekable_exactly:
        near = start <= WHOLE_DECODE_SECONDS * plan.sample_rate
        first = 0 if near else start - int(PREROLL_SECONDS * plan.sample_rate)
    position, end = first, start + num_samples
    for block in _blocks(plan.decoded, plan.channels, first, end - first):
        begin = max(start - position, 0)
        position += len(block)
        wanted = block[begin:]
        if len(wanted):
            if not np.isfinite(wanted).all():
                place = position - len(wanted) + int(np.argmin(np.isfinite(wanted).all(axis=1)))
                raise AudioError(
                    f"{path}: sample {place} ({place / plan.sample_rate:.2f} s) is NaN or infinite; write it again"
                )
            yield wanted
    if position < end:
        raise AudioError(
            f"{path}: is truncated or damaged: its header gives {plan.num_samples} samples and it ends after "
            f"{position} ({position / plan.sample_rate:.2f} s); download it again"
        )


def _blocks(path: str, channels: int, start: int = 0, num_samples: int | None = None) -> Iterator[Float]:
    """What the file really holds, in blocks; never more memory than one block, whatever the header says."""
    import soundfile

    step = max(1, BLOCK_VALUES // channels)
    left = num_samples
    with _opened(path) as file:
        try:
            if start:
                with _quiet_reservoir(str(file.subtype)):
                    file.seek(start)
                    take = step if left is None else min(step, left)
                    block = file.read(take, dtype="float32", always_2d=True)
            else:
                take = step if left is None else min(step, left)
                block = file.read(take, dtype="float32", always_2d=True)
            while len(block):
                yield block
                left = None if left is None else left - len(block)
                take = step if left is None else min(step, left)
                if take == 0:
                    return
                block = file.read(take, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise AudioError(f"{path}: is damaged: {_plain(error)}; download it again") from error


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    import soundfile

    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        raise AudioError(_plain(error)) from error
    # After each read soundfile seeks to where the read ended, if the file is seekable. In a lossy file that throws the
    # decoder's past away at every block; called not seekable, it leaves the decoder alone.
    file.seekable = lambda: False
    try:
        yield file
    finally:
        file.close()


def _plain(error: Exception) -> str:
    return str(error).rsplit(": ", 1)[-1].strip().rstrip(".") or type(error).__name__


def _reason(path: str, error: Exception) -> str:
    """Why libsndfile could not open a file, in words that help."""
    with Path(path).open("rb") as file:
        head = file.read(512)
    if head.startswith((b"<!DOCTYPE", b"<html", b"<HTML", b"<?xml")):
        return "is a web page, not audio; download the audio itself"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not audio; run: git lfs pull"
    with_text = head.decode("utf-8", "ignore")
    if len(with_text) > len(head) * 0.7 and sum(c.isprintable() or c.isspace() for c in with_text) > 0.95 * len(head):
        return "is a text file, not audio; check the path"
    return f"is not audio that can be read ({error}); convert it to WAV or FLAC"


def _check_complete(path: str, size: int, file_format: str) -> None:
    """Compare what the headers promise with the size of the file, where that takes a few bytes."""
    with Path(path).open("rb") as file:
        if file_format in ("WAV", "WAVEX"):
            _check_wav(path, size, file.read(1 << 16))
        elif file_format == "OGG":
            file.seek(max(0, size - (1 << 17)))
            tail = file.read()
            page = tail.rfind(b"OggS")
            if page >= 0 and page + 27 <= len(tail):
                segments = tail[page + 26]
                table = tail[page + 27 : page + 27 + segments]
                missing = page + 27 + segments + sum(table) - len(tail)
                if missing > 0 or len(table) < segments:
                    raise AudioError(f"{path}: is truncated: its last page lacks bytes; download it again")


def _check_wav(path: str, size: int, head: bytes) -> None:
    if head[:4] != b"RIFF":
        return
    place = 12
    while place + 8 <= len(head):
        name, length = head[place : place + 4], int.from_bytes(head[place + 4 : place + 8], "little")
        if name == b"data":
            held = size - place - 8
            if length > held and length not in STREAMED_LENGTHS:
                raise AudioError(
                    f"{path}: is truncated: its header gives {length} bytes of samples and it holds {held}; "
                    "download it again"
                )
            return
        place += 8 + length + length % 2


def _states_length(path: str) -> bool:
    """Whether an MP3 carries its number of frames in a Xing, Info or VBRI tag; otherwise its length is a guess."""
    with Path(path).open("rb") as file:
        head = file.read(10)
        skip = 0
        if head[:3] == b"ID3":
            a, b, c, d = head[6:10]
            skip = 10 + (a << 21 | b << 14 | c << 7 | d)
        file.seek(skip)
        frame = file.read(4096)
    for tag in (b"Xing", b"Info"):
        place = frame.find(tag)
        if place >= 0 and place + 8 <= len(frame):
            return bool(frame[place + 7] & 1)
    return b"VBRI" in frame


_stderr_lock = threading.Lock()


@contextmanager
def _quiet_reservoir(subtype: str) -> Iterator[None]:
    """Hold back what the MP3 decoder writes to the process's error stream after a seek; pass on everything else.

    It reports the missing bit reservoir of the first frames, which the preroll throws away, line by line.
    """
    if "MPEG" not in subtype:
        yield
        return
    with _stderr_lock, tempfile.TemporaryFile() as held:  # one at a time: each must find the true error stream
        try:
            kept = os.dup(2)
        except OSError:  # a daemon without an error stream
            yield
            return
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            others = b"".join(line for line in held if b"libmpg123" not in line)
            if others.strip():
                os.write(2, others)
