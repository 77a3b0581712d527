"""Read and write waveforms: float32 in [-1, 1], shape (samples,), mono, resampled to the requested rate."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from speechkit.errors import AudioError
from speechkit.io.arrays import Float
from speechkit.io.atomic import atomic_path
from speechkit.io.containers import AUDIO_SUFFIXES
from speechkit.io.decoding import decode
from speechkit.io.layout import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, layout

RESAMPLE_CONTEXT_SECONDS = 0.1
FORMATS = {
    "WAV": ("WAV", "PCM_16"),
    "FLAC": ("FLAC", "PCM_16"),
    "OGG": ("OGG", "VORBIS"),
    "OPUS": ("OGG", "OPUS"),
    "MP3": ("MP3", "MPEG_LAYER_III"),
}
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
WRITE_BLOCK = 1 << 16


def names_audio(path: Path | str) -> bool:
    """Whether a name to write is that of an audio file, by its suffix; other names are folders.

    Raises:
        AudioError: if it has the suffix of a format that can only be read.
    """
    suffix = Path(path).suffix.lower()
    if suffix.lstrip(".").upper() in FORMATS:
        return True
    if suffix in AUDIO_SUFFIXES:
        writable = ", .".join(name.lower() for name in FORMATS)
        raise AudioError(f"{path}: {suffix} cannot be written; give a file that ends with .{writable}")
    return False


class AudioInfo(msgspec.Struct, frozen=True):
    """Properties of an audio file: ``num_samples`` per channel at its native ``sample_rate`` in Hz."""

    path: str
    sample_rate: int
    num_samples: int
    channels: int
    format: str

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate


def audio_info(path: Path | str) -> AudioInfo:
    """Length, rate and channels of an audio file; the length is that of the decodable audio, not the header's.

    Headers are checked against the file's content (`speechkit.io.layout`). An MP3 without a length tag and a FLAC
    written to a pipe are decoded once to count their samples.

    Raises:
        AudioError: if the file is missing, empty, shorter than its header states, or not audio.
    """
    source = layout(path)
    return AudioInfo(os.fspath(path), source.sample_rate, source.num_samples, source.channels, source.format)


def read_audio(
    path: Path | str,
    *,
    offset_samples: int = 0,
    num_samples: int | None = None,
    sample_rate: int | None = 16000,
    channel: int | None = None,
    counted_rate: int | None = None,
) -> Float:
    """Read a recording or a segment of it as float32 (samples,).

    Args:
        path: any format of libsndfile (WAV, FLAC, OGG, Opus, MP3 …); others are decoded by the ffmpeg program.
        offset_samples: first sample, at the file's native rate.
        num_samples: length at the native rate; None reads to the end.
        sample_rate: rate of the result in Hz; None keeps the native rate.
        channel: channel index, from 0; None averages all channels.
        counted_rate: rate in Hz that ``offset_samples`` and ``num_samples`` refer to; a file with another native rate
            is rejected, since they would select a different segment.

    The result equals the same segment of the whole file's waveform, so adjacent segments join without a seam. This
    also holds after resampling: the segment is read with context, and output sample ``k`` of the whole file belongs
    to it if ``round(begin * ratio) <= k < round(end * ratio)``.

    Raises:
        AudioError: if the file cannot be read or has another rate than ``counted_rate``, the segment or channel is out
            of range, or samples are not finite.
    """
    source = layout(path)
    _check_channel(path, channel, source.channels)
    if counted_rate not in (None, source.sample_rate):
        raise AudioError(
            f"{path}: the manifest says {counted_rate} Hz and the file has {source.sample_rate} Hz, so that its offset "
            "and duration would name another piece; fix sample_rate"
        )
    end = source.num_samples if num_samples is None else offset_samples + num_samples
    if offset_samples < 0 or end < offset_samples or end > source.num_samples:
        raise AudioError(
            f"{path}: samples {offset_samples} to {end} were asked for and it holds {source.num_samples} "
            f"({source.num_samples / source.sample_rate:.2f} s); fix the offset or duration"
        )
    target = _target_rate(path, sample_rate, source.sample_rate)
    if target == source.sample_rate:
        return _mono(path, offset_samples, end, channel)
    # Whole periods of both rates, so that output samples of the segment coincide with those of the whole file.
    period = source.sample_rate // math.gcd(source.sample_rate, target)
    context = int(RESAMPLE_CONTEXT_SECONDS * source.sample_rate)
    begin_read = max(0, (offset_samples - context) // period * period)
    end_read = min(source.num_samples, end + context)
    resampled = resample(_mono(path, begin_read, end_read, channel), source.sample_rate, target)
    origin = begin_read // period * (target // math.gcd(source.sample_rate, target))
    begin_kept = scaled(offset_samples, target, source.sample_rate) - origin
    length = scaled(end, target, source.sample_rate) - origin - begin_kept
    segment = resampled[begin_kept : begin_kept + length]
    return _with_length(segment, length)


def stream_audio(
    path: Path | str, *, sample_rate: int | None = 16000, block_seconds: float = 30.0, channel: int | None = None
) -> Iterator[Float]:
    """Stream a recording in blocks of ``block_seconds`` (the last may be shorter); memory is a few blocks.

    The concatenated blocks equal `read_audio` of the whole file: resampling has no artefacts at block boundaries.

    Raises:
        AudioError: as `read_audio`; a truncated file yields its decodable blocks before the error.
    """
    import soxr

    source = layout(path)
    _check_channel(path, channel, source.channels)
    if not block_seconds > 0:
        raise AudioError(f"{path}: block_seconds is {block_seconds}; give a positive number")
    target = _target_rate(path, sample_rate, source.sample_rate)
    size = max(1, round(block_seconds * target))
    total = scaled(source.num_samples, target, source.sample_rate)
    stream = (
        None if target == source.sample_rate else soxr.ResampleStream(source.sample_rate, target, 1, dtype="float32")
    )
    waiting: list[Float] = []
    held = given = 0
    for block in decode(path):
        mono = _one_channel(block, channel)
        ready = mono if stream is None else np.asarray(stream.resample_chunk(mono), np.float32)
        ready = ready[: total - given - held]
        waiting.append(ready)
        held += len(ready)
        while held >= size:
            joined = np.concatenate(waiting)
            yield joined[:size].copy()
            waiting, held, given = [joined[size:]], held - size, given + size
    if stream is not None:
        last = np.asarray(stream.resample_chunk(np.zeros(0, np.float32), last=True), np.float32)
        waiting.append(last[: total - given - held])
    remaining = _with_length(np.concatenate(waiting), total - given)
    for begin in range(0, len(remaining), size):
        yield remaining[begin : begin + size]


def write_audio(path: Path | str, waveform: npt.ArrayLike, sample_rate: int, format: str | None = None) -> None:  # noqa: A002
    """Write a mono waveform atomically, clipped to [-1, 1].

    Args:
        path: its suffix selects the format if ``format`` is None.
        waveform: (samples,), floats in [-1, 1].
        sample_rate: in Hz; Opus supports 8, 12, 16, 24 and 48 kHz, MP3 the standard rates up to 48 kHz.
        format: WAV and FLAC (16 bits), OGG (Vorbis), OPUS or MP3.

    Raises:
        AudioError: if the waveform is empty, not mono or not finite, or not supported by the format.
        UserError: if the file cannot be written.
    """
    samples = np.asarray(waveform, dtype=np.float32)
    if samples.ndim != 1:
        raise AudioError(f"{path}: the waveform has shape {samples.shape}; give one channel, (samples,)")
    # In blocks: libsndfile's Vorbis and Opus encoders overflow the stack on long single writes.
    blocks = (samples[begin : begin + WRITE_BLOCK] for begin in range(0, len(samples), WRITE_BLOCK))
    write_blocks(path, blocks, sample_rate, format)


def write_blocks(path: Path | str, blocks: Iterable[Float], sample_rate: int, format: str | None = None) -> None:  # noqa: A002
    """Write a mono waveform from blocks (samples,), atomically, clipped to [-1, 1]; otherwise as `write_audio`."""
    import soundfile

    name = (format or Path(path).suffix.lstrip(".")).upper()
    if name not in FORMATS:
        raise AudioError(f"{path}: format {name!r} is not known; choose one of {', '.join(FORMATS)}")
    rates = {"OPUS": OPUS_RATES, "MP3": MP3_RATES}.get(name)
    if rates and sample_rate not in rates:
        raise AudioError(f"{path}: {name} cannot hold {sample_rate} Hz; choose one of {', '.join(map(str, rates))}")
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError(f"{path}: a sample rate of {sample_rate} Hz is not possible; give Hz, such as 16000")
    container, subtype = FORMATS[name]
    with atomic_path(path) as temporary:
        given = 0
        try:
            with soundfile.SoundFile(temporary, "w", sample_rate, 1, subtype, format=container) as file:
                for block in blocks:
                    if not np.isfinite(block).all():
                        sample = given + int(np.argmin(np.isfinite(block)))
                        raise AudioError(f"{path}: sample {sample} is NaN or infinite; nothing was written")
                    file.write(np.clip(block, -1.0, 1.0))
                    given += len(block)
            written = soundfile.info(temporary).frames if given else 0
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise AudioError(f"{path}: cannot be written ({error}); check the free space of the disk") from error
        if not given:
            raise AudioError(f"{path}: the waveform is empty; nothing was written")
        # libsndfile does not report a failed flush on close.
        if container != "MP3" and written != given:
            raise AudioError(f"{path}: cannot be written: {written} of {given} samples fit; free some space")


def _mono(path: Path | str, begin: int, end: int, channel: int | None) -> Float:
    blocks = [_one_channel(block, channel) for block in decode(path, begin, end - begin)]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _one_channel(block: Float, channel: int | None) -> Float:
    """(samples, channels) to (samples,)."""
    if block.shape[1] == 1:
        return np.ascontiguousarray(block[:, 0])
    if channel is not None:
        return np.ascontiguousarray(block[:, channel])
    mean: Float = block.mean(axis=1, dtype=np.float32)
    return mean


def resample(waveform: Float, source: int, target: int) -> Float:
    """Resample a waveform (S,) with soxr.

    Raises:
        AudioError: if a rate is invalid.
    """
    if source < 1 or target < 1:
        raise AudioError(f"sample rates are {source} and {target} Hz; give numbers above 0")
    import soxr

    if not len(waveform):
        return waveform
    return np.asarray(soxr.resample(waveform, source, target), np.float32)


def scaled(samples: int, target: int, source: int) -> int:
    """``round(samples * target / source)`` in integer arithmetic, halves rounded up."""
    return (2 * samples * target + source) // (2 * source)


def _with_length(waveform: Float, length: int) -> Float:
    """Trim or pad to ``length``: the resampler may return one sample more or less at the end of a file."""
    if len(waveform) < length:
        return np.pad(waveform, (0, length - len(waveform)), mode="edge" if len(waveform) else "constant")
    return waveform[:length]


def _target_rate(path: Path | str, sample_rate: int | None, own: int) -> int:
    if sample_rate is None:
        return own
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError(f"{path}: a sample rate of {sample_rate} Hz is not possible; give Hz, such as 16000")
    return sample_rate


def _check_channel(path: Path | str, channel: int | None, channels: int) -> None:
    if channel is not None and not 0 <= channel < channels:
        raise AudioError(f"{path}: has {channels} channel{'s'[: channels > 1]}, and channel {channel} was asked for")
