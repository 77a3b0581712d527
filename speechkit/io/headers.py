"""Byte offset of the samples in an uncompressed audio file, and the number of bytes that its header states.

Headers are written before the samples and corrected afterwards, if at all: a writer to a pipe leaves 0 or all ones, a
recording of more than 4 GB overflows, an incomplete download keeps the full length. The stated length is therefore
checked against the file size, and against what follows the stated samples: chunks, or more samples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

# Placeholder lengths left by writers to a pipe, which cannot seek back.
STREAMED_LENGTHS = (0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF)
# Chunks that are recognised even if the file ends inside them.
KNOWN_CHUNKS = frozenset({
    b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"axml", b"fact", b"cue ", b"smpl", b"PAD ", b"JUNK", b"FLLR", b"PEAK",
})  # fmt: skip
IGNORED_REST_SECONDS = 0.02
"""A shorter rest behind the stated samples is padding or a tag."""
SPHERE_FIELD = re.compile(rb"^(\w+) -\w+ (\S+)", re.MULTILINE)
W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"


class SampleBytes(msgspec.Struct, frozen=True):
    """Sample data starts at byte ``begin``; its length in the header is ``stated`` bytes, None if it has none.

    ``endian`` is the byte order, LITTLE or BIG.
    """

    begin: int
    stated: int | None
    endian: str


def sample_bytes(file: BinaryIO, size: int) -> SampleBytes | None:
    """Locate the samples in a WAV, RF64, W64, AIFF, AU, SPHERE or CAF file of ``size`` bytes; else None."""
    file.seek(0)
    head = file.read(40)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _wave(file, size, "big" if head[:4] == b"RIFX" else "little")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _aiff(file, size)
    if head[:16] == W64_RIFF:
        return _wave64(file, size)
    if head[:4] in (b".snd", b"dns."):
        order = "BIG" if head[:4] == b".snd" else "LITTLE"
        begin, length = (int.from_bytes(head[k : k + 4], "big" if order == "BIG" else "little") for k in (4, 8))
        return SampleBytes(begin, None if length in STREAMED_LENGTHS else length, order)
    if head[:7] == b"NIST_1A":
        return _sphere(file, head)
    if head[:4] == b"caff":
        return _core_audio(file, size)
    return None


def wave_starts(file: BinaryIO, size: int) -> list[int]:
    """First byte of each of several WAV files joined end to end; [0] for a single one, [] for other formats."""
    starts: list[int] = []
    begin = 0
    while begin + 12 <= size:
        file.seek(begin)
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            break
        starts.append(begin)
        length = int.from_bytes(head[4:8], "little")
        begin += 8 + length + length % 2
    return starts


def samples_follow(file: BinaryIO, samples: SampleBytes, size: int, bytes_per_second: int) -> bool:
    """Whether more samples, not chunks or padding, follow those that the header states."""
    end = samples.begin + (samples.stated or 0)
    end += end % 2 if samples.stated else 0
    if size - end <= IGNORED_REST_SECONDS * bytes_per_second:
        return False
    file.seek(end)
    following = file.read(1 << 16)
    name, length = following[:4], following[4:8]
    if all(32 <= byte < 127 for byte in name):
        fits = any(int.from_bytes(length, order) <= size - end - 8 for order in ("little", "big"))
        if fits or name in KNOWN_CHUNKS:
            return False
    while following:
        if any(following):
            return True
        following = file.read(1 << 20)
    return samples.stated == 0  # a length that was never filled in, followed by silence


def _chunks(file: BinaryIO, begin: int, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, content offset and stated length of each chunk, as long as the lengths stay inside the file."""
    offset = begin
    while offset + 8 <= size:
        file.seek(offset)
        name, length = file.read(4), int.from_bytes(file.read(4), order)  # type: ignore[arg-type]
        yield name, offset + 8, length
        offset += 8 + length + length % 2


def _wave(file: BinaryIO, size: int, order: str) -> SampleBytes | None:
    wide = None
    for name, begin, length in _chunks(file, 12, size, order):
        if name == b"ds64":
            file.seek(begin + 8)
            wide = int.from_bytes(file.read(8), "little")
        elif name == b"data":
            if wide is not None and length in (0, 0xFFFFFFFF):
                return SampleBytes(begin, wide or None, "LITTLE")
            # Zero may be correct; the following bytes decide.
            streamed = length in STREAMED_LENGTHS[1:] and length > size - begin
            return SampleBytes(begin, None if streamed else length, order.upper())
    return None


def _aiff(file: BinaryIO, size: int) -> SampleBytes | None:
    endian = "BIG"
    for name, begin, length in _chunks(file, 12, size, "big"):
        if name == b"COMM":
            file.seek(begin + 18)
            endian = "LITTLE" if file.read(4) == b"sowt" else "BIG"
        elif name == b"SSND":
            file.seek(begin)
            offset = int.from_bytes(file.read(4), "big")
            streamed = length in STREAMED_LENGTHS[1:] and length > size - begin
            return SampleBytes(begin + 8 + offset, None if streamed else max(0, length - 8 - offset), endian)
    return None


def _core_audio(file: BinaryIO, size: int) -> SampleBytes | None:
    offset, endian = 8, "BIG"
    while offset + 12 <= size:
        file.seek(offset)
        name, length = file.read(4), int.from_bytes(file.read(8), "big", signed=True)
        if name == b"desc":
            file.seek(offset + 12 + 12)
            endian = "LITTLE" if int.from_bytes(file.read(4), "big") & 2 else "BIG"
        elif name == b"data":  # its first four bytes count edits
            return SampleBytes(offset + 16, None if length < 0 else max(0, length - 4), endian)
        if length < 0:
            return None
        offset += 12 + length
    return None


def _wave64(file: BinaryIO, size: int) -> SampleBytes | None:
    offset = 40
    while offset + 24 <= size:
        file.seek(offset)
        name, length = file.read(16), int.from_bytes(file.read(8), "little")
        if name == W64_DATA:
            return SampleBytes(offset + 24, max(0, length - 24), "LITTLE")
        offset += max(24, length + -length % 8)
    return None


def _sphere(file: BinaryIO, head: bytes) -> SampleBytes | None:
    begin = int(head[8:16]) if head[8:16].strip().isdigit() else 0
    if not 0 < begin <= 1 << 20:
        return None
    file.seek(0)
    fields = dict(SPHERE_FIELD.findall(file.read(begin)))
    if b"," in fields.get(b"sample_coding", b""):
        return None  # compressed: the sample count does not give a byte count
    try:
        count, channels, width = (int(fields[name]) for name in (b"sample_count", b"channel_count", b"sample_n_bytes"))
    except (KeyError, ValueError):
        return None
    endian = "LITTLE" if fields.get(b"sample_byte_format") == b"01" else "BIG"
    return SampleBytes(begin, count * channels * width, endian)
