"""Divide a recording of any length into windows with context, so that window boundaries leave no artefacts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechkit.io.audio import stream_audio


@dataclass(frozen=True)
class Window:
    """Window ``begin`` to ``end``, of which ``keep_begin`` to ``keep_end`` is kept, in frames of the recording.

    ``joined`` is true if this window continues the previous one: the two overlap by their context.
    """

    begin: int
    end: int
    keep_begin: int
    keep_end: int
    joined: bool


def merge_regions(regions: Iterable[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """Sort regions and merge those that overlap or are less than ``gap`` apart; empty ones are dropped."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(regions):
        if end <= begin:
            continue
        if merged and begin - merged[-1][1] < gap:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


def plan_windows(
    frames: int, spans: list[tuple[int, int]], window_frames: int, context_frames: int
) -> Iterator[Window]:
    """Plan windows over disjoint, sorted spans of frames.

    A span longer than ``window_frames`` is divided evenly, so that there is no short last window; every window gets
    ``context_frames`` of context on both sides, within the recording.
    """
    for span_begin, span_end in spans:
        count = -(-(span_end - span_begin) // window_frames)
        for index in range(count):
            keep_begin = span_begin + (span_end - span_begin) * index // count
            keep_end = span_begin + (span_end - span_begin) * (index + 1) // count
            yield Window(
                max(0, keep_begin - context_frames),
                min(frames, keep_end + context_frames),
                keep_begin,
                keep_end,
                index > 0,
            )


def cut_windows(
    waveform: NDArray[np.float32], windows: Iterable[Window], frame_samples: int
) -> Iterator[tuple[Window, NDArray[np.float32]]]:
    """Each window with its segment of a waveform (samples,) in memory."""
    for window in windows:
        yield window, waveform[window.begin * frame_samples : window.end * frame_samples]


def stream_windows(
    path: str,
    windows: Iterable[Window],
    frame_samples: int,
    block_seconds: float = 30.0,
    sample_rate: int = 16_000,
    channel: int | None = None,
) -> Iterator[tuple[Window, NDArray[np.float32]]]:
    """Each window with its waveform at ``sample_rate``; memory is one block and one window.

    ``channel`` is the channel index, from 0; None averages all channels.

    Windows must begin in increasing order.
    """
    blocks = stream_audio(path, sample_rate=sample_rate, block_seconds=block_seconds, channel=channel)
    held = np.zeros(0, np.float32)
    origin = 0
    for window in windows:
        begin, end = window.begin * frame_samples, window.end * frame_samples
        while origin + len(held) < end:
            block = next(blocks, None)
            if block is None:
                break
            passed = min(max(begin - origin, 0), len(held))
            held, origin = np.concatenate([held[passed:], block]), origin + passed
        yield window, held[begin - origin : end - origin]
