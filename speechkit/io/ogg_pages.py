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
        size, place = len(content), 0
        links: list[Link] = []
        numbers: dict[bytes, int] = {}
        still_open: set[bytes] = set()
        opening = False
        while place + 27 <= size:
            head = content[place : place + 27]
            if head[:4] != b"OggS":
                found = content.find(b"OggS", place + 1)
                if found < 0:
                    break
                if links and links[-1].gap is None:
                    links[-1].gap = place
                place = found
                continue
            flags, serial, number = head[5], head[14:18], int.from_bytes(head[18:22], "little")
            table = content[place + 27 : place + 27 + head[26]]
            end = place + 27 + len(table) + sum(table)
            if end > size or len(table) < head[26]:
                return links, False
            if flags & FIRST:
                if not opening:
                    links.append(Link(place, place, []))
                    numbers.clear()
                    still_open.clear()
                opening = True
                links[-1].codecs.append(first_codec(content[place : place + 27 + len(table) + 16]))
                still_open.add(serial)
            elif not links:
                links.append(Link(place, place, [""]))
            else:
                opening = False
                if number != numbers.get(serial, number - 1) + 1 and links[-1].gap is None:
                    links[-1].gap = place
            numbers[serial] = number
            if flags & LAST:
                still_open.discard(serial)
            links[-1].end, links[-1].closed = end, not still_open
            place = end
        return links, place >= size or not any(content[place:size])
