"""Separate a recording that is read in blocks into tracks that are given in blocks, in constant memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from speechkit.io.arrays import Float, to_int16
from speechkit.io.atomic import write_error
from speechkit.separation.counting import SpeakerCount
from speechkit.separation.separate import counted, in_order, stream_tracks, unsure_joins
from speechkit.separation.streaming import DEFAULT_WINDOWING, SeparationStream, Windowing, WindowSeparator
from speechkit.separation.voices import Embed, embed_voice

READ_SAMPLES = 1 << 18
Read = Callable[[int | None], Iterator[Float]]
"""Gives the blocks of a recording from its start, at a sample rate; None: at its own."""


@dataclass(frozen=True)
class SeparatedBlocks:
    """A separated recording, while its tracks are on disk.

    Attributes:
        rate: sample rate of the tracks in hertz.
        count: number of speakers; its ``tracks`` are 0, 1, … here.
        gain: see `speechkit.separation.separate.Separation`.
        unsure_joins: the same.
        track: blocks of track 0, 1, …; of the only one if nobody speaks, which is silent.
    """

    rate: int
    count: SpeakerCount
    gain: float
    unsure_joins: int
    track: Callable[[int], Iterator[Float]]


@contextmanager
def separated_blocks(
    read: Read,
    rate: int,
    separator: WindowSeparator,
    *,
    speakers: int | None = None,
    out_rate: int | None = None,
    windowing: Windowing = DEFAULT_WINDOWING,
    embed: Embed = embed_voice,
    folder: Path | None = None,
) -> Iterator[SeparatedBlocks]:
    """Separate a recording; inside the ``with`` block its tracks can be read in blocks.

    The tracks wait in a temporary file until the speakers are counted, and the only speaker's is read from the
    recording again, so that memory does not grow with the length. They are those of
    `speechkit.separation.separate.separate`.

    Args:
        read: the recording, of one channel.
        rate: its own sample rate in hertz.
        separator: see `speechkit.separation.separate.load_window_separator`.
        speakers: as for `separate`, with ``out_rate``, ``windowing`` and ``embed``.
        out_rate: as for `separate`.
        windowing: as for `separate`.
        embed: as for `separate`.
        folder: folder of the temporary file, created if absent; that of the system if None.

    Raises:
        AudioError: if the recording cannot be read.
        ConfigError: if a rate is out of range.
        UserError: if the temporary file cannot be written.
    """
    stream = SeparationStream(separator, rate, out_rate=out_rate, windowing=windowing, embed=embed)
    with _track_buffer(folder) as buffer:
        peaks = np.zeros(separator.speakers)
        for tracks in stream_tracks(stream, read(None)):
            peaks = np.maximum(peaks, np.abs(tracks).max(1, initial=0.0))
            _append(buffer, tracks, folder)
        count = counted(stream, speakers)
        offset = np.float32(stream.offset)
        peak = float(peaks[count.tracks].max(initial=0.0))
        if count.speakers == 1:
            levels = (float(np.abs(block - offset).max(initial=0.0)) for block in read(stream.out_rate))
            peak = max(levels, default=0.0)
        gain = 1.0 / peak if peak > 1 else 1.0

        def track(number: int) -> Iterator[Float]:
            if count.speakers == 1:
                return ((block - offset) * np.float32(gain) for block in read(stream.out_rate))
            index, factor = (count.tracks[number], np.float32(gain)) if count.tracks else (0, np.float32(0))
            return (block[:, index] * factor for block in _buffered(buffer, separator.speakers))

        yield SeparatedBlocks(stream.out_rate, in_order(count), gain, unsure_joins(stream), track)


def stored_int16(blocks: Iterable[Float]) -> NDArray[np.int16]:
    """A waveform as 16-bit samples, mapped from an unnamed temporary file that lives as long as the array.

    Raises:
        UserError: if the file cannot be written.
    """
    with _track_buffer(None) as file:
        for block in blocks:
            try:
                file.write(to_int16(block).tobytes())
            except OSError as error:
                raise write_error(Path(tempfile.gettempdir()), error) from error
        file.flush()
        return np.memmap(file, np.int16, "r") if file.tell() else np.zeros(0, np.int16)


def _track_buffer(folder: Path | None) -> IO[bytes]:
    """An unnamed temporary file, which disappears with the process however it ends."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise write_error(folder or Path(tempfile.gettempdir()), error) from error


def _append(buffer: IO[bytes], tracks: Float, folder: Path | None) -> None:
    try:
        buffer.write(np.ascontiguousarray(tracks.T).tobytes())
    except OSError as error:
        raise write_error(folder or Path(tempfile.gettempdir()), error) from error


def _buffered(buffer: IO[bytes], tracks: int) -> Iterator[Float]:
    """The buffered tracks in blocks (n, N)."""
    buffer.seek(0)
    while block := buffer.read(READ_SAMPLES * 4 * tracks):
        yield np.frombuffer(block, np.float32).reshape(-1, tracks)
