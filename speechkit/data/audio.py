"""Read the audio of manifest rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechkit.data.manifest import audio_path
from speechkit.data.records import Utterance
from speechkit.errors import AudioError
from speechkit.io.audio import read_audio

BLOCK_SECONDS = 60
WAVEFORM_RATE = 16_000


def read_cut(
    audio: Path | str,
    utterance: Utterance,
    *,
    sample_rate: int | None = None,
    begin: int = 0,
    num_samples: int | None = None,
) -> NDArray[np.float32]:
    """Read the waveform (time,) of an utterance, or of a segment of it.

    Args:
        audio: the audio file.
        utterance: a row of a manifest.
        sample_rate: rate of the result in Hz; None keeps the native rate.
        begin: first sample of the segment within the utterance, at the native rate.
        num_samples: length at the native rate; None or more than available reads to the end of the utterance.

    Raises:
        AudioError: if the file cannot be read, has another sample rate than the row, or ends before the utterance.
    """
    left = utterance.num_samples - begin
    return read_audio(
        audio,
        offset_samples=utterance.offset_samples + begin,
        num_samples=left if num_samples is None else min(num_samples, left),
        sample_rate=sample_rate,
        channel=utterance.channel,
        counted_rate=utterance.sample_rate,
    )


def read_waveform(
    row: Utterance,
    manifest: Path | str,
    *,
    begin: int = 0,
    num_samples: int | None = None,
    sample_rate: int = WAVEFORM_RATE,
) -> NDArray[np.float32]:
    """Read the waveform (time,) of a manifest row at ``sample_rate``, 16 kHz by default.

    ``begin``, ``num_samples`` and errors as in `read_cut`.
    """
    path = audio_path(manifest, row)
    return read_cut(path, row, sample_rate=sample_rate, begin=begin, num_samples=num_samples)


def cut_blocks(
    audio: Path | str, utterance: Utterance, *, sample_rate: int | None = None, seconds: int = BLOCK_SECONDS
) -> Iterator[NDArray[np.float32]]:
    """Stream the waveform of an utterance in blocks of ``seconds``; the last may be shorter.

    Raises:
        AudioError: as `read_cut`.
    """
    size = seconds * utterance.sample_rate
    for begin in range(0, utterance.num_samples, size):
        yield read_cut(audio, utterance, sample_rate=sample_rate, begin=begin, num_samples=size)


def why_unreadable(audio: Path | str, utterance: Utterance) -> str | None:
    """Decode a whole utterance; returns the reason if that fails, otherwise None."""
    try:
        for _ in cut_blocks(audio, utterance):
            pass
    except AudioError as error:
        return str(error)
    return None
