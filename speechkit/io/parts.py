"""Parts of audio files opened with libsndfile: headers, and samples in blocks."""

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

BLOCK_VALUES = 1 << 20  # 4 MB of float32 per block, for any number of channels


class Part(msgspec.Struct, frozen=True):
    """A byte range of a file that libsndfile opens as a separate file, and its number of samples.

    Attributes:
        path: the file, or a decoded copy.
        begin: first byte of the range, after those that ``head`` replaces.
        end: byte after the last; None for the whole file.
        head: bytes to prepend.
        raw: sample format and byte order of headerless samples, in libsndfile's terms.
    """

    path: str
    num_samples: int = 0
    begin: int = 0
    end: int | None = None
    head: bytes = b""
    raw: tuple[str, str] | None = None


class Header(msgspec.Struct, frozen=True):
    """Properties of a part as libsndfile reports them."""

    sample_rate: int
    frames: int
    channels: int
    format: str
    subtype: str
    log: str

    @property
    def states_length(self) -> bool:
        """Whether the number of frames is valid; a FLAC written to a pipe states none."""
        return 0 < self.frames <= 1 << 40


def read_header(part: Part) -> Header:
    """Read the header of a part with libsndfile.

    Raises:
        AudioError: with libsndfile's reason, without the path.
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
    """Number of samples per channel, counted by decoding the part."""
    return sum(len(block) for block in read_blocks(part, channels))


def read_blocks(
    part: Part, channels: int, start: int = 0, num_samples: int | None = None, sample_rate: int = 0
) -> Iterator[Float]:
    """Decode a part in blocks; memory is one block, even if the header overstates the length."""
    import soundfile

    step = max(1, BLOCK_VALUES // channels)
    remaining = num_samples
    with open_part(part, sample_rate, channels) as file:
        try:
            take = step if remaining is None else min(step, remaining)
            if start:
                with _quiet_mpeg("MPEG" in str(file.subtype)):
                    file.seek(start)
                    block = file.read(take, dtype="float32", always_2d=True)
            else:
                block = file.read(take, dtype="float32", always_2d=True)
            while len(block):
                yield block
                remaining = None if remaining is None else remaining - len(block)
                take = step if remaining is None else min(step, remaining)
                if take == 0:
                    return
                block = file.read(take, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise AudioError(f"{part.path}: is damaged: {_plain(error)}; download it again") from error


@contextmanager
def open_part(part: Part, sample_rate: int = 0, channels: int = 0) -> Iterator[Any]:
    """Open a part with libsndfile; ``sample_rate`` and ``channels`` apply to raw samples."""
    import soundfile

    with ExitStack() as stack:
        opened: Any = part.path if os.name == "nt" else os.fsencode(part.path)  # soundfile encodes strictly
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
        # After each read of a seekable file, soundfile seeks to the end of that read. In a lossy file this resets the
        # decoder state at every block; declaring the file not seekable avoids it.
        file.seekable = lambda: False
        try:
            yield file
        finally:
            file.close()


def _plain(error: Exception) -> str:
    return str(error).rsplit(": ", 1)[-1].strip().rstrip(".") or type(error).__name__


_stderr_lock = threading.Lock()


def _may_be_mpeg(part: Part) -> bool:
    """Whether the first bytes may be MPEG audio, tested before the file is opened."""
    head = part.head
    if len(head) < 3:
        with Path(part.path).open("rb") as file:
            file.seek(part.begin)
            head += file.read(3)
    return head[:3] == b"ID3" or head[:1] == b"\xff"


@contextmanager
def _quiet_mpeg(active: bool) -> Iterator[None]:
    """Suppress what the MP3 decoder writes to the process's stderr; pass on everything else.

    It reports each frame after a seek whose bit reservoir is missing, which the preroll discards, and a tag whose
    length differs from the file's, which `mpeg_frames` has corrected.
    """
    if not active:
        yield
        return
    with _stderr_lock, tempfile.TemporaryFile() as held:  # one at a time: each must see the real stderr
        try:
            kept = os.dup(2)
        except OSError:  # a daemon without stderr
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
