"""FLAC files whose header does not tell all: several streams in one file, and streams longer than they state.

Source: RFC 9639, sections 8 (STREAMINFO) and 9.1 (frame header).
"""

from __future__ import annotations

import mmap
from pathlib import Path

import msgspec

STREAM_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
"""Marker and first block header of a stream; its first block, STREAMINFO, has 34 bytes."""
TOTAL = slice(21, 26)
"""Bytes of a stream with the number of samples in their last 36 bits."""
TAIL_BYTES = 1 << 20
"""The last frame begins within this many bytes of the end."""
BLOCK_SIZES = {1: 192} | {code: 576 << (code - 2) for code in range(2, 6)} | {code: 1 << code for code in range(8, 16)}


class FlacStream(msgspec.Struct, frozen=True):
    """Bytes ``begin`` to ``end`` of a file; ``head`` is its start without a number of samples.

    ``stated`` is that number, 0 if unknown; ``last`` the one after the last frame, None if no frame was recognised.
    """

    begin: int
    end: int
    head: bytes
    stated: int
    last: int | None


def flac_streams(path: str) -> list[FlacStream]:
    """The streams of a FLAC file, in sequence; tags before the first are left out."""
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begins = sorted(begin for start in STREAM_STARTS for begin in _positions(data, start))
        return [_stream(data, begin, end) for begin, end in zip(begins, [*begins[1:], len(data)], strict=True)]


def _positions(data: mmap.mmap, start: bytes) -> list[int]:
    found, position = [], data.find(start)
    while position >= 0:
        found.append(position)
        position = data.find(start, position + 1)
    return found


def _stream(data: mmap.mmap, begin: int, end: int) -> FlacStream:
    head = bytearray(data[begin : begin + TOTAL.stop])
    total = int.from_bytes(head[TOTAL], "big")
    stated = total & ((1 << 36) - 1)
    head[TOTAL] = (total - stated).to_bytes(5, "big")
    block = int.from_bytes(head[10:12], "big")  # the largest
    tail = data[max(begin + 42, end - TAIL_BYTES) : end]
    at, last = len(tail), None
    while last is None and (at := tail.rfind(b"\xff", 0, at)) >= 0:
        last = _frame_end(tail[at : at + 16], block)
    return FlacStream(begin, end, bytes(head), stated, last)


def _frame_end(header: bytes, largest: int) -> int | None:
    """Number of the sample after a frame, from its header; None if these are not the bytes of one."""
    if len(header) < 6 or header[1] & 0xFE != 0xF8 or header[3] & 1 or not header[2] >> 4:
        return None
    length = max(1, 8 - (header[4] ^ 0xFF).bit_length())  # bytes of the number, coded as UTF-8 codes characters
    number = header[4] & (0x7F if length == 1 else 0x7F >> length)
    for byte in header[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    at, code = 4 + length, header[2] >> 4
    size = BLOCK_SIZES.get(code, 0)
    if code in (6, 7):
        size = int.from_bytes(header[at : at + code - 5], "big") + 1
        at += code - 5
    at += {12: 1, 13: 2, 14: 2}.get(header[2] & 0x0F, 0)
    if at >= len(header) or _crc8(header[:at]) != header[at] or size > largest:
        return None
    return number + size if header[1] & 1 else number * largest + size


def _crc8(data: bytes) -> int:
    remainder = 0
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x07 if remainder & 0x80 else 0)) & 0xFF
    return remainder
