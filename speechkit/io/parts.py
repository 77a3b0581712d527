"""Stretches of audio files as libsndfile opens them: their headers, and their samples in blocks."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import AudioError
from speechkit.io.arrays import Float
from speechkit.io.stretch import Stretch

BLOCK_VALUES = 1 << 20  # 4 MB of float32 a block, whatever the header says of channels


class Part(msgspec.Struct, frozen=True):
    """A stretch of a file that libsndfile opens as if it were a file of its own, and its number of samples.

    Attributes:
        path: of the file, or of a decoded copy.
        begin: first byte of the stretch, after those that ``head`` stands for.
        end: byte after the last; None with the whole file.
        head: bytes put in front.
        raw: kind and order of the samples where they have no header, as libsndfile names them.
    """

    path: str
    num_samples: int = 0
    begin: int = 0
    end: int | None = None
    head: bytes = b""
    raw: tuple[str, str] | None = None


class Header(msgspec.Struct, frozen=True):
    """What libsndfile says of a part."""

    sample_rate: int
    frames: int
    channels: int
    format: str
    subtype: str
    log: str

    @property
    def states_length(self) -> bool:
        """Whether the number of frames is one; a FLAC written to a pipe has none."""
        return 0 < self.frames <= 1 << 40


def look(part: Part) -> Header:
    """What libsndfile reads in the header of a part.

    Raises:
        AudioError: with its reason, without the path.
    """
    with open_part(part) as file:
        return Header(
            int(file.samplerate),
            int(file.frames),
            int(file.channels),
            str(file.format),
            str(file.subtype),
            str(file.extra_info),
        )


def count_samples(part: Part, channels: int) -> int:
    """Samples of a channel that a part decodes to, by decoding it."""
    return sum(len(block) for block in read_blocks(part, channels))


def read_blocks(
    part: Part, channels: int, start: int = 0, num_samples: int | None = None, sample_rate: int = 0
) -> Iterator[Float]:
    """What a part really holds, in blocks; never more memory than one block, whatever the header says."""
    import soundfile

    step = max(1, BLOCK_VALUES // channels)
    left = num_samples
    with open_part(part, sample_rate, channels) as file:
        try:
            take = step if left is None else min(step, left)
            if start:
                with _quiet_mpeg("MPEG" in str(file.subtype)):
                    file.seek(start)
                    block = file.read(take, dtype="float32", always_2d=True)
            else:
                block = file.read(take, dtype="float32", always_2d=True)
            while len(block):
                yield block
                left = None if left is None else left - len(block)
                take = step if left is None else min(step, left)
                if take == 0:
                    return
                block = file.read(take, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise AudioError(f"{part.path}: is damaged: {_plain(error)}; download it again") from error


@contextmanager
def open_part(part: Part, sample_rate: int = 0, channels: int = 0) -> Iterator[Any]:
    """A part as libsndfile's file; rate and channels are those of raw samples."""
    import soundfile

    with ExitStack() as stack:
        opened: Any = part.path if os.name == "nt" else os.fsencode(part.path)  # soundfile's own encoding is strict
        if part.end is not None:
            opened = stack.enter_context(Stretch(part.path, part.begin, part.end, part.head))
        try:
            with _quiet_mpeg(_may_be_mpeg(part)):
                if part.raw is None:
                    file = soundfile.SoundFile(opened)
                else:
                    subtype, endian = part.raw
                    file = soundfile.SoundFile(opened, "r", sample_rate, channels, subtype, endian, format="RAW")
        except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
            raise AudioError(_plain(error)) from error
        # After each read soundfile seeks to where the read ended, if the file is seekable. In a lossy file that throws
        # the decoder's past away at every block; called not seekable, it leaves the decoder alone.
        file.seekable = lambda: False
        try:
            yield file
        finally:
            file.close()


def _plain(error: Exception) -> str:
    return str(error).rsplit(": ", 1)[-1].strip().rstrip(".") or type(error).__name__


_stderr_lock = threading.Lock()


def _may_be_mpeg(part: Part) -> bool:
    """By the first bytes, before the file is opened."""
    head = part.head
    if len(head) < 3:
        with Path(part.path).open("rb") as file:
            file.seek(part.begin)
            head += file.read(3)
    return head[:3] == b"ID3" or head[:1] == b"\xff"


@contextmanager
def _quiet_mpeg(active: bool) -> Iterator[None]:
    """Hold back what the MP3 decoder writes to the process's error stream; pass on everything else.

    It reports the missing bit reservoir of the first frames after a seek, which the preroll throws away, line by line,
    and a tag whose length is not the file's, which `mpeg_frames` has corrected.
    """
    if not active:
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
            others = b"".join(line for line in held if b"libmpg123" not in line and b"Xing stream" not in line)
            if others.strip():
                os.write(2, others)
