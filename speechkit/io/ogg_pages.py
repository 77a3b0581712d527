"""Parse the pages of an Ogg file: find chained streams and missing pages.

A recorded internet stream and concatenated files are chains: the last page of one stream is followed by the first page
of the next. Decoders of single streams stop after the first link.

Source: RFC 3533, sections 4 and 6.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import msgspec

CODECS = {
    b"\x01vorbis": "vorbis",
    b"OpusHead": "opus",
    b"\x7fFLAC": "flac",
    b"Speex   ": "speex",
}
FIRST, LAST = 2, 4
"""Flags of a page: first and last of its stream."""


class Link(msgspec.Struct):
    """One link of a chain: bytes ``begin`` to ``end`` with the multiplexed streams ``codecs`` ("" if unknown).

    ``closed`` is true if every stream has its last page; ``gap`` is the byte before which a page is missing.
    """

    begin: int
    end: int
    codecs: list[str]
    closed: bool = False
    gap: int | None = None


def first_codec(head: bytes) -> str:
    """Codec of an Ogg file's first stream, from the file's first bytes; "" if unknown."""
    if len(head) < 28:
        return ""
    start = 27 + head[26]
    return next((name for magic, name in CODECS.items() if head[start:].startswith(magic)), "")


def ogg_links(path: Path | str) -> tuple[list[Link], bool]:
    """Links of an Ogg file in order, and whether its last page is complete."""
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        size, offset = len(content), 0
        links: list[Link] = []
        numbers: dict[bytes, int] = {}
        still_open: set[bytes] = set()
        opening = False
        while offset + 27 <= size:
            head = content[offset : offset + 27]
            if head[:4] != b"OggS":
                following = content.find(b"OggS", offset + 1)
                if following < 0:
                    break
                if links and links[-1].gap is None:
                    links[-1].gap = offset
                offset = following
                continue
            flags, serial, number = head[5], head[14:18], int.from_bytes(head[18:22], "little")
            table = content[offset + 27 : offset + 27 + head[26]]
            end = offset + 27 + len(table) + sum(table)
            if end > size or len(table) < head[26]:
                return links, False
            if flags & FIRST:
                if not opening:
                    links.append(Link(offset, offset, []))
                    numbers.clear()
                    still_open.clear()
                opening = True
                links[-1].codecs.append(first_codec(content[offset : offset + 27 + len(table) + 16]))
                still_open.add(serial)
            elif not links:
                links.append(Link(offset, offset, [""]))
            else:
                opening = False
                if number != numbers.get(serial, number - 1) + 1 and links[-1].gap is None:
                    links[-1].gap = offset
            numbers[serial] = number
            if flags & LAST:
                still_open.discard(serial)
            links[-1].end, links[-1].closed = end, not still_open
            offset = end
        return links, offset >= size or not any(content[offset:size])
