"""Count the frames of an MP3 file without decoding them.

An MP3 has no file header: its length is stored, if at all, in a tag inside the first frame (Xing, Info or VBRI), and
decoders stop at the length in that tag. Concatenated files keep the first file's tag in front, so it is too short.
Here every frame header is read, so that the count is that of the actual frames.

Sources: ISO/IEC 11172-3 section 2.4.2.3 (the frame header); the LAME project's specification of the Info tag.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

import msgspec

# kbit/s by (is version 1, layer); index 0 is free format and 15 is invalid.
BITRATES = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = (44_100, 48_000, 32_000)
LENGTH_BITS = 0xFFFE_FE00
"""Of a frame header: all that its length in bytes depends on."""
STREAM_BITS = 0xFFFE_0C00
"""Version, layer and rate, which a decoder does not expect to change."""
XING = (b"Xing", b"Info")
SYNC = re.compile(rb"\xff[\xe2-\xff]")


class Stream(msgspec.Struct, frozen=True):
    """One MP3 stream: frames from byte ``begin`` to ``end``, with the frame count in its tag.

    Attributes:
        tag: byte offset of the frame count in the file; None if there is no tag with a count.
        stated: frame count in the tag.
        frames: number of complete frames, excluding the tag's.
        samples: samples per frame.
    """

    begin: int
    end: int
    frames: int
    samples: int
    tag: int | None
    stated: int | None

    def head(self, content: bytes) -> bytes:
        """The stream's first bytes ``content``, up to its tag, with the frame count corrected."""
        assert self.tag is not None
        position = self.tag - self.begin
        return content[:position] + self.frames.to_bytes(4, "big")


class _Frame(msgspec.Struct, frozen=True):
    length: int
    samples: int
    tag_offset: int


def mpeg_streams(path: Path | str) -> list[Stream]:
    """Streams of an MP3 file in order: a new one begins at a tag, and where the rate or channels change.

    Empty if the frames cannot be followed, as with free-format bit rates.
    """
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _streams(content)


def _streams(content: mmap.mmap) -> list[Stream]:
    size = len(content)
    known: dict[int, _Frame | None] = {}
    streams: list[Stream] = []
    begin = position = count = samples = 0
    tag: int | None = None
    stated: int | None = None
    kind: tuple[int, bool] | None = None

    def close(end: int) -> None:
        if kind is not None:
            streams.append(Stream(begin, end, count, samples, tag, stated))

    while position + 4 <= size:
        header = int.from_bytes(content[position : position + 4], "big")
        bits = header & LENGTH_BITS
        frame = known.get(bits)
        if frame is None and bits not in known:
            frame = known[bits] = _frame(header)
        if frame is None:
            position = _next_frame(content, position, size)
            continue
        if position + frame.length > size:
            break
        mono = header & 0xC0 == 0xC0
        stream_format = (header & STREAM_BITS, mono)
        offset = position + frame.tag_offset - (0 if not mono else 8 if frame.tag_offset == 21 else 15)
        if content[offset : offset + 4] not in XING:
            offset += 2  # skip the CRC
        tagged = content[offset : offset + 4] in XING or content[position + 36 : position + 40] == b"VBRI"
        if (
            stream_format != kind
            and kind is not None
            and not _frame_follows(content, position + frame.length, size, header)
        ):
            position = _next_frame(content, position, size)  # corrupt bytes that look like a frame header
            continue
        if tagged or stream_format != kind:
            close(position)
            begin, count, kind, samples = position, 0, stream_format, frame.samples
            tag = stated = None
            if tagged:
                tag = _count_offset(content, offset, position)
                stated = None if tag is None else int.from_bytes(content[tag : tag + 4], "big")
        if not tagged:
            count += 1
        position += frame.length
    close(size)
    return streams


def _count_offset(content: mmap.mmap, offset: int, frame: int) -> int | None:
    """Byte offset of the frame count in the tag, None without one."""
    if content[frame + 36 : frame + 40] == b"VBRI":
        return frame + 50
    return offset + 8 if content[offset + 7] & 1 else None


def _frame(header: int) -> _Frame | None:
    """Parse a frame header; None if it is invalid."""
    version, layer = header >> 19 & 3, 4 - (header >> 17 & 3)
    bitrate, rate = header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    first = version == 3
    hertz = RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bits = BITRATES[first, layer][bitrate - 1] * 1000
    padding = header >> 9 & 1
    samples = 384 if layer == 1 else 576 if layer == 3 and not first else 1152
    length = (12 * bits // hertz + padding) * 4 if layer == 1 else samples // 8 * bits // hertz + padding
    return _Frame(length, samples, 36 if first else 21)  # side information of stereo; mono has less


def _next_frame(content: mmap.mmap, position: int, size: int) -> int:
    """Offset of the next frame, after tags and corrupt bytes; the file size if there is none."""
    head = content[position : position + 10]
    if head[:3] == b"ID3" and len(head) == 10 and max(head[6:]) < 128:
        a, b, c, d = head[6:]
        return position + 10 + (a << 21 | b << 14 | c << 7 | d)
    if head[:3] == b"TAG":
        return position + 128
    candidate = position + 1
    while candidate + 4 <= size:
        # One region at a time: a regex match on the mmap itself would keep it from being closed.
        sync = SYNC.search(content[candidate : candidate + 65_536])
        if sync is None:
            candidate += 65_535
            continue
        candidate += sync.start()
        frame = _frame(int.from_bytes(content[candidate : candidate + 4], "big"))
        if frame is not None:
            header = int.from_bytes(content[candidate : candidate + 4], "big")
            if _frame_follows(content, candidate + frame.length, size, header):
                return candidate
        candidate += 1
    return size


def _frame_follows(content: mmap.mmap, position: int, size: int, header: int) -> bool:
    """Whether ``place`` is a frame of the same stream, a tag or the end of the file."""
    follower = content[position : position + 4]
    same = int.from_bytes(follower, "big") & STREAM_BITS == header & STREAM_BITS
    return position >= size - 4 or same or follower[:3] in (b"ID3", b"TAG", b"APE")
