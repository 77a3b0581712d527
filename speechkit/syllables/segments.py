"""The output of every segmenter, ordered frame intervals [start, end), and operations on it.

Notation used for array shapes: T frames of 20 ms, D their width, n segments.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.io.arrays import Float

Boundaries = NDArray[np.int64]
"""Segments (n, 2) as frames [start, end), in order and without overlap; what lies between them is silence."""

HOP_SECONDS = 0.02
"""From one frame to the next; encoders of another rate are refused."""
BLOCK_FRAMES = 8192


class Segment(msgspec.Struct, frozen=True):
    """A syllable-like stretch, in seconds."""

    start: float
    end: float


class Segmenter(Protocol):
    """Anything that cuts the frames of an encoder into segments."""

    def segment(self, features: NDArray[np.floating[Any]]) -> Boundaries:
        """Segments (n, 2) of frames (T, D).

        Raises:
            UserError: if the frames are not a table of finite numbers.
        """


def checked_features(features: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """The frames (T, D) in float32, float64 or, as a store holds them, float16; a mapped file is not read.

    Raises:
        UserError: if they are no table of numbers.
    """
    table = np.asanyarray(features)
    if table.ndim != 2 or not table.shape[1]:
        raise UserError(f"features have shape {table.shape}; a segmenter takes frames (T, D)")
    if table.dtype.kind != "f":
        raise UserError(f"features are {table.dtype}; a segmenter takes floating-point frames")
    return table


def not_finite(frame: int, recording: str | None = None) -> UserError:
    """The error of frames that hold NaN or infinity."""
    place = f"{recording}: " if recording else ""
    return UserError(
        f"{place}frame {frame} ({frame * HOP_SECONDS:.2f} s) holds NaN or infinity; fix the recording or leave it out"
    )


def frame_norms(features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """L2 norm (T,) of each frame (T, D); a mapped file is read in blocks.

    Raises:
        UserError: if the frames are no table of finite numbers, with the first frame that is not.
    """
    table = checked_features(features)
    norms = np.empty(len(table))
    for begin in range(0, len(table), BLOCK_FRAMES):
        block = np.asarray(table[begin : begin + BLOCK_FRAMES], np.float64)
        norms[begin : begin + len(block)] = np.sqrt(np.einsum("td,td->t", block, block))
    finite = np.isfinite(norms)
    if not finite.all():
        raise not_finite(int(np.argmin(finite)))
    return norms


def runs_of_speech(norms: NDArray[np.float64], threshold: float | None) -> Boundaries:
    """Maximal runs (n, 2) of frames whose norm reaches the threshold; all frames when there is none."""
    if threshold is None:
        return np.array([[0, len(norms)]] if len(norms) else [], np.int64).reshape(-1, 2)
    speech = np.concatenate([[False], norms >= threshold, [False]])
    return np.flatnonzero(speech[1:] != speech[:-1]).astype(np.int64).reshape(-1, 2)


def segment_means(features: NDArray[np.floating[Any]], boundaries: Boundaries) -> Float:
    """The mean frame of each segment: features (T, D) and boundaries (n, 2) to float32 (n, D).

    Raises:
        UserError: if a segment is empty or lies outside the frames.
    """
    table = checked_features(features)
    places = np.asarray(boundaries, np.int64).reshape(-1, 2)
    outside = (places[:, 0] < 0) | (places[:, 1] > len(table)) | (places[:, 0] >= places[:, 1])
    if outside.any():
        start, end = places[np.argmax(outside)]
        raise UserError(f"segment {start} to {end} is empty or lies outside the {len(table)} frames")
    means = np.empty((len(places), table.shape[1]), np.float32)
    for row, (start, end) in enumerate(places):
        means[row] = table[start:end].mean(axis=0, dtype=np.float64)
    return means


def in_frames(segments: Iterable[Segment], hop_seconds: float = HOP_SECONDS) -> Boundaries:
    """Seconds as the nearest frames (n, 2); a segment that rounds to nothing keeps one frame.

    Raises:
        UserError: if segments overlap by half a frame or more, or run backwards.
    """
    places: list[tuple[int, int]] = []
    before = -math.inf
    for segment in segments:
        start, end = round(segment.start / hop_seconds), round(segment.end / hop_seconds)
        if segment.end < segment.start or (places and start < places[-1][0]):
            raise UserError(f"segment {segment.start:.3f} to {segment.end:.3f} s runs backwards; sort the segments")
        if before - segment.start >= hop_seconds / 2:
            raise UserError(
                f"segment {segment.start:.3f} to {segment.end:.3f} s begins before the one in front of it ends, at "
                f"{before:.3f} s; give segments that do not overlap"
            )
        before = segment.end
        # The one in front may have kept a frame although it is shorter.
        start = max(start, places[-1][1]) if places else start
        places.append((start, max(end, start + 1)))
    return np.array(places, np.int64).reshape(-1, 2)
