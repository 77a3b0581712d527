"""Segments as ordered frame intervals [start, end), the output of every segmenter, and operations on them.

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
"""Segments (n, 2) as frames [start, end), sorted and disjoint; frames between them are silence."""

HOP_SECONDS = 0.02
"""Frame hop; encoders of another frame rate are rejected."""
BLOCK_FRAMES = 8192


class Segment(msgspec.Struct, frozen=True):
    """A syllable-like segment, in seconds."""

    start: float
    end: float


class Segmenter(Protocol):
    """Segments the frames of an encoder."""

    def segment(self, features: NDArray[np.floating[Any]]) -> Boundaries:
        """Segments (n, 2) of frames (T, D).

        Raises:
            UserError: if the frames are not a matrix of finite numbers.
        """


def checked_features(features: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Validate the shape and floating-point type of frames (T, D) without reading a memory-mapped array.

    Raises:
        UserError: if they are not a floating-point matrix.
    """
    table = np.asanyarray(features)
    if table.ndim != 2 or not table.shape[1]:
        raise UserError(f"features have shape {table.shape}; a segmenter takes frames (T, D)")
    if table.dtype.kind != "f":
        raise UserError(f"features are {table.dtype}; a segmenter takes floating-point frames")
    return table


def not_finite_error(frame: int, recording: str | None = None) -> UserError:
    """The error of a frame with NaN or infinity."""
    prefix = f"{recording}: " if recording else ""
    return UserError(
        f"{prefix}frame {frame} ({frame * HOP_SECONDS:.2f} s) contains NaN or infinity; fix or remove the recording"
    )


def frame_norms(features: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """L2 norms (T,) of frames (T, D); a memory-mapped array is read in blocks.

    Raises:
        UserError: if the frames are not a matrix of finite numbers, with the first invalid frame.
    """
    table = checked_features(features)
    norms = np.empty(len(table))
    for begin in range(0, len(table), BLOCK_FRAMES):
        block = np.asarray(table[begin : begin + BLOCK_FRAMES], np.float64)
        norms[begin : begin + len(block)] = np.sqrt(np.einsum("td,td->t", block, block))
    finite = np.isfinite(norms)
    if not finite.all():
        raise not_finite_error(int(np.argmin(finite)))
    return norms


def speech_runs(norms: NDArray[np.float64], threshold: float | None, shortest_silence: int = 1) -> Boundaries:
    """Maximal runs (n, 2) of frames with a norm of at least the threshold; one run of all frames without one.

    Runs that fewer than ``shortest_silence`` frames separate, such as the closures of stops, are one.
    """
    if threshold is None:
        return np.array([[0, len(norms)]] if len(norms) else [], np.int64).reshape(-1, 2)
    speech = np.concatenate([[False], norms >= threshold, [False]])
    runs = np.flatnonzero(speech[1:] != speech[:-1]).astype(np.int64).reshape(-1, 2)
    apart = runs[1:, 0] - runs[:-1, 1] >= shortest_silence
    return np.stack([runs[np.append(True, apart), 0], runs[np.append(apart, True), 1]], 1) if len(runs) else runs


def segment_means(features: NDArray[np.floating[Any]], boundaries: Boundaries) -> Float:
    """Mean of each segment's frames: features (T, D) and boundaries (n, 2) to float32 (n, D).

    Raises:
        UserError: if a segment is empty or outside the frames.
    """
    table = checked_features(features)
    spans = np.asarray(boundaries, np.int64).reshape(-1, 2)
    outside = (spans[:, 0] < 0) | (spans[:, 1] > len(table)) | (spans[:, 0] >= spans[:, 1])
    if outside.any():
        start, end = spans[np.argmax(outside)]
        raise UserError(f"segment {start} to {end} is empty or outside the {len(table)} frames; fix the boundaries")
    means = np.empty((len(spans), table.shape[1]), np.float32)
    for row, (start, end) in enumerate(spans):
        means[row] = table[start:end].mean(axis=0, dtype=np.float64)
    return means


def in_frames(segments: Iterable[Segment], hop_seconds: float = HOP_SECONDS) -> Boundaries:
    """Segments in seconds, rounded to frames (n, 2); every segment keeps at least one frame.

    Raises:
        UserError: if segments overlap by half a frame or more, or run backwards.
    """
    spans: list[tuple[int, int]] = []
    previous_end = -math.inf
    for segment in segments:
        start, end = round(segment.start / hop_seconds), round(segment.end / hop_seconds)
        if segment.end < segment.start or (spans and start < spans[-1][0]):
            raise UserError(f"segment {segment.start:.3f} to {segment.end:.3f} s runs backwards; sort the segments")
        if previous_end - segment.start >= hop_seconds / 2:
            raise UserError(
                f"segment {segment.start:.3f} to {segment.end:.3f} s begins before the previous one ends, at "
                f"{previous_end:.3f} s; give segments that do not overlap"
            )
        previous_end = segment.end
        # The previous segment may have been extended to one frame.
        start = max(start, spans[-1][1]) if spans else start
        spans.append((start, max(end, start + 1)))
    return np.array(spans, np.int64).reshape(-1, 2)
