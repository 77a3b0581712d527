"""Decoding plan and true length of an audio file, from its content rather than its header.

Most files are a single part opened by libsndfile. Files joined end to end (MP3, WAV, FLAC) and chained Ogg streams give
several parts. A file whose header states too short a length becomes a headerless part, or a FLAC stream of unknown
length. A file that libsndfile cannot read, or cannot seek in, is read from a decoded copy.
"""

from __future__ import annotations

import os
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from speechkit.errors import AudioError
from speechkit.io import containers
from speechkit.io.flac_frames import flac_streams
from speechkit.io.headers import SampleBytes, sample_bytes, samples_follow, wave_starts
from speechkit.io.mpeg_frames import mpeg_streams
from speechkit.io.ogg_pages import ogg_links
from speechkit.io.parts import Header, Part, count_samples, read_blocks, read_header

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000
WIDTHS = {
    "PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8, "ULAW": 1, "ALAW": 1,
}  # fmt: skip
"""Bytes of a sample, by libsndfile's name, where all have as many."""
CHAINED = ("mp3", "ogg")
"""Containers of which ffmpeg decodes all parts in sequence."""
SEQUENTIAL = "sequential"
SEQUENTIAL_SUBTYPES = frozenset({
    "GSM610", "G721_32", "G723_24", "G723_40", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32", "DWVW_12", "DWVW_16",
    "DWVW_24", "DPCM_8", "DPCM_16",
})  # fmt: skip
"""Codecs that libsndfile decodes from the start only."""


class Layout(msgspec.Struct, frozen=True):
    """Decoding plan of a file: ``parts`` in sequence, all with the same rate and number of channels.

    ``copied`` names the decoder if the only part is a decoded copy, otherwise None.
    """

    parts: tuple[Part, ...]
    sample_rate: int
    num_samples: int
    channels: int
    format: str
    seekable_exactly: bool
    copied: str | None = None


def layout(path: Path | str) -> Layout:
    """Decoding plan and length of an audio file, cached until the file changes on disk.

    Raises:
        AudioError: if the file is missing, empty, shorter than its headers state, or not audio.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - also takes plain text
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise AudioError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not Path(path).is_file():
        raise AudioError(f"{path}: is not a file; give the path of an audio file")
    if status.st_size == 0:
        raise AudioError(f"{path}: is empty (0 bytes); record or download it again")
    return _layout(os.fspath(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _layout(path: str, size: int, changed: int) -> Layout:
    container = containers.sniff(path)
    if container is None:
        with Path(path).open("rb") as file:
            starts = wave_starts(file, size)
        if len(starts) > 1:
            parts = [Part(path, 0, *span) for span in pairwise([*starts, size])]
            return _joined(path, parts, "wav", counted=[False] * len(parts))
        try:
            header = read_header(Part(path))
        except AudioError as error:
            if reason := _no_audio(path):
                raise AudioError(f"{path}: {reason}") from error
            container = containers.UNKNOWN
        else:
            _check_rate(path, header.sample_rate)
            if header.format == "OGG":
                return _ogg_layout(path, header)
            if "MPEG" in header.subtype and header.format == "MP3":
                return _mp3_layout(path, header)
            if header.format == "FLAC" and (plan := _flac_layout(path, header)) is not None:
                return plan
            return _plain_layout(path, size, header)
    return _copied(path, container)


def _check_rate(path: str, sample_rate: int) -> None:
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError(f"{path}: its header gives a sample rate of {sample_rate} Hz; convert it to 8 to 192 kHz")


def _copied(path: str, container: str) -> Layout:
    copy = _copy(path, container)
    header = read_header(Part(copy))
    _check_rate(path, header.sample_rate)
    frames = header.frames if header.states_length else count_samples(Part(copy), header.channels)
    name = header.format if container in (SEQUENTIAL, containers.UNKNOWN) else container
    plan = _whole(path, [Part(copy, frames)], header, exact=True, name=name)
    return msgspec.structs.replace(plan, copied=container)


def _copy(path: str, container: str) -> str:
    """Decoded copy, by ffmpeg, or by libsndfile where it cannot seek; decoded again if it was removed."""
    if container == SEQUENTIAL:
        return containers.decoded_copy(path, lambda copy: _write_copy(path, copy))
    return containers.decoded_copy(path, lambda copy: containers.run_ffmpeg(path, container, copy))


def present_parts(path: Path | str, plan: Layout) -> tuple[Part, ...]:
    """Parts of a file; its decoded copy is made again if it was evicted from the cache."""
    if plan.copied is None:
        return plan.parts
    return (msgspec.structs.replace(plan.parts[0], path=_copy(os.fspath(path), plan.copied)),)


def _whole(path: str, parts: list[Part], header: Header, *, exact: bool, name: str | None = None) -> Layout:
    total = sum(part.num_samples for part in parts)
    if total == 0:
        raise AudioError(f"{path}: holds no samples; record or download it again")
    return Layout(tuple(parts), header.sample_rate, total, header.channels, name or header.format, exact)


def _plain_layout(path: str, size: int, header: Header) -> Layout:
    """Layout of a file with a header, whose stated length is checked against the content."""
    with Path(path).open("rb") as file:
        samples = sample_bytes(file, size)
        if samples is not None and samples.begin > size:
            raise AudioError(
                f"{path}: is truncated: its samples begin at byte {samples.begin} and it has {size}; download it again"
            )
        if samples is not None:
            held, stated = max(0, size - samples.begin), samples.stated
            width = WIDTHS.get(header.subtype, 0) * header.channels
            second = width * header.sample_rate or held / max(1, header.frames) * header.sample_rate
            if stated is not None and stated > held:
                raise AudioError(
                    f"{path}: is truncated: its header gives {stated} bytes of samples and it holds {held}, so that "
                    f"{(stated - held) / second:.1f} s are missing; download it again"
                )
            if stated is not None and samples_follow(file, samples, size, int(second)):
                if not width:
                    raise AudioError(
                        f"{path}: its header gives {stated} bytes of samples and {held - stated} more follow that it "
                        f"does not explain; convert it with a program that wrote such files, or cut it there"
                    )
                return _headless(path, samples, size, header, width)
            if stated is None and width and header.frames != held // width:
                return _headless(path, samples, size, header, width)
    if header.subtype in SEQUENTIAL_SUBTYPES:
        return _copied(path, SEQUENTIAL)
    if samples is None and ("(should be" in header.log or "truncated" in header.log):
        raise AudioError(f"{path}: is truncated: it holds less than its header says; download it again")
    known = header.states_length and "MPEG" not in header.subtype
    frames = header.frames if known else count_samples(Part(path), header.channels)
    return _whole(path, [Part(path, frames)], header, exact="MPEG" not in header.subtype)


def _flac_layout(path: str, header: Header) -> Layout | None:
    """Layout of a FLAC file of several streams, or of one that is longer than it states; None for all others."""
    streams = flac_streams(path)
    if len(streams) > 1:
        parts = [Part(path, 0, stream.begin, stream.end) for stream in streams]
        return _joined(path, parts, "flac", counted=[False] * len(parts))
    if not streams or not 0 < streams[0].stated < (streams[0].last or 0):
        return None
    stream = streams[0]
    part = Part(path, 0, stream.begin + len(stream.head), stream.end, stream.head)
    frames = count_samples(part, header.channels)
    if frames <= stream.stated:
        return None
    return _whole(path, [msgspec.structs.replace(part, num_samples=frames)], header, exact=True)


def _headless(path: str, location: SampleBytes, size: int, header: Header, width: int) -> Layout:
    """Layout of all bytes from the first sample to the end of the file, without the header."""
    samples = (size - location.begin) // width
    part = Part(path, samples, location.begin, size, raw=(header.subtype, location.endian))
    return _whole(path, [part], header, exact=True)


def _mp3_layout(path: str, header: Header) -> Layout:
    """Layout of an MP3 file: frames are counted, and a tag that states another number is ignored."""
    streams = [stream for stream in mpeg_streams(path) if stream.frames]
    if len(streams) < 2 and (not streams or streams[0].stated is None):
        frames = count_samples(Part(path), header.channels)
        # A decoder stops silently at corruption longer than a frame.
        if streams and frames < (streams[0].frames - 4) * streams[0].samples:
            held = streams[0].frames * streams[0].samples / header.sample_rate
            raise AudioError(
                f"{path}: is damaged: it holds {held:.2f} s and can be decoded to {frames / header.sample_rate:.2f} s; "
                "download it again"
            )
        return _whole(path, [Part(path, frames)], header, exact=False)
    with Path(path).open("rb") as file:
        parts = []
        for stream in streams:
            last = stream is streams[-1]
            if last and stream.stated is not None and stream.stated > stream.frames + 1:
                held, stated = (count * stream.samples / header.sample_rate for count in (stream.frames, stream.stated))
                raise AudioError(
                    f"{path}: is truncated: its header gives {stated:.2f} s and it ends after {held:.2f} s; "
                    "download it again"
                )
            file.seek(stream.begin)
            if stream.tag is None or stream.stated == stream.frames:
                part = Part(path, 0, stream.begin, stream.end)
            else:
                head = stream.head(file.read(stream.tag - stream.begin))
                part = Part(path, 0, stream.tag + 4, stream.end, head)
            parts.append(part)
    if len(parts) == 1 and not parts[0].head:
        return _whole(path, [Part(path, header.frames)], header, exact=False)
    return _joined(path, parts, "mp3", counted=[stream.stated is None for stream in streams])


def _ogg_layout(path: str, header: Header) -> Layout:
    """Layout of an Ogg file: every link of the chain is decoded, and missing pages are reported."""
    links, whole = ogg_links(path)
    if not whole or not links:
        raise AudioError(f"{path}: is truncated: its last page lacks bytes; download it again")
    for link in links:
        if link.gap is not None:
            raise AudioError(
                f"{path}: is damaged: pages are missing or broken before byte {link.gap}; download it again"
            )
    if not links[-1].closed:
        raise AudioError(
            f"{path}: is truncated: it ends without the last page of its stream; download it again, or, if it was "
            "recorded from a stream that broke off, copy it with: ffmpeg -i IN -c copy OUT.ogg"
        )
    if any(len(link.codecs) > 1 for link in links):
        return _copied(path, "ogg")
    if len(links) == 1:
        frames = header.frames if header.states_length else count_samples(Part(path), header.channels)
        return _whole(path, [Part(path, frames)], header, exact=False)
    parts = [Part(path, 0, link.begin, link.end) for link in links]
    return _joined(path, parts, "ogg", counted=[False] * len(parts))


def _joined(path: str, parts: list[Part], container: str, counted: list[bool]) -> Layout:
    """Layout of parts in sequence; if rates or channels differ, ffmpeg converts them to a common format."""
    measured = []
    first: Header | None = None
    for part, by_decoding in zip(parts, counted, strict=True):
        try:
            header = read_header(part)
        except AudioError as error:
            raise AudioError(f"{path}: cannot be read from byte {part.begin} on ({error}); cut it there") from error
        first = first or header
        if "(should be" in header.log:
            raise AudioError(f"{path}: is truncated: less follows byte {part.begin} than the header there says")
        if (header.sample_rate, header.channels) != (first.sample_rate, first.channels):
            if container not in CHAINED:
                raise AudioError(
                    f"{path}: holds several recordings of different rates or channels; cut it at byte {part.begin}"
                )
            return _copied(path, container)
        known = header.states_length and not by_decoding
        frames = header.frames if known else count_samples(part, header.channels)
        measured.append(msgspec.structs.replace(part, num_samples=frames))
    assert first is not None
    return _whole(path, measured, first, exact=False)


def _write_copy(path: str, copy: str) -> None:
    """Decode a whole file to 24-bit FLAC."""
    import soundfile

    header = read_header(Part(path))
    with soundfile.SoundFile(copy, "w", header.sample_rate, header.channels, "PCM_24", format="FLAC") as file:
        for block in read_blocks(Part(path), header.channels):
            file.write(np.clip(block, -1.0, 1.0))


def _no_audio(path: str) -> str | None:
    """Reason why a file that libsndfile could not open is not audio, with advice; None if it may be audio."""
    with Path(path).open("rb") as file:
        head = file.read(512)
    if head.startswith((b"<!DOCTYPE", b"<html", b"<HTML", b"<?xml")):
        return "is a web page, not audio; download the audio itself"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not audio; run: git lfs pull"
    with_text = head.decode("utf-8", "ignore")
    if len(with_text) > len(head) * 0.7 and sum(c.isprintable() or c.isspace() for c in with_text) > 0.95 * len(head):
        return "is a text file, not audio; check the path"
    return None
