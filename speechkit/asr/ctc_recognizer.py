"""Recognise recordings of any length with a CTC model, in overlapping windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from speechkit.asr.ctc_decoding import greedy_decode
from speechkit.asr.hypothesis import Emissions, Hypothesis, RecognizerSpec
from speechkit.io.audio import audio_info
from speechkit.io.windows import Window, cut_windows, merge_regions, plan_windows, stream_windows

Windows = Iterator[tuple[Window, NDArray[np.float32]]]
Cut = Callable[[Iterator[Window], int], Windows]
"""Maps windows and the samples per frame to the windows' waveforms."""

# Log-probability of symbols in frames outside speech; the blank has 0 there.
OUTSIDE_SPEECH = -20.0


class Emitter(Protocol):
    """Interface of a CTC model for windows."""

    vocabulary: tuple[str, ...]
    blank: int
    silent: frozenset[int]
    frame_samples: int
    batch_size: int

    def emit(self, waveforms: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Log-probabilities (len(waveform) // frame_samples rounded up, V) of each waveform (samples,) at 16 kHz."""


class CtcRecognizer:
    """Windows with context over a CTC model.

    Args:
        emitter: the model.
        spec: identity for fingerprints.
        window_seconds: length of a window without context.
        context_seconds: context on both sides of a window.
        margin_seconds: speech regions are extended by this much, since detectors cut soft onsets.
    """

    def __init__(
        self,
        emitter: Emitter,
        spec: RecognizerSpec,
        window_seconds: float = 20.0,
        context_seconds: float = 2.0,
        margin_seconds: float = 0.2,
    ):
        self._emitter = emitter
        self._spec = spec
        self._hop_seconds = emitter.frame_samples / 16_000
        self._window_frames = max(1, round(window_seconds / self._hop_seconds))
        self._context_frames = round(context_seconds / self._hop_seconds)
        self._margin_frames = round(margin_seconds / self._hop_seconds)

    @property
    def spec(self) -> RecognizerSpec:
        """Identity of the recogniser."""
        return self._spec

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The model's symbols."""
        return self._emitter.vocabulary

    @property
    def silent(self) -> frozenset[int]:
        """Symbols without text."""
        return self._emitter.silent

    def recognize(
        self,
        path: str,
        speech: list[tuple[int, int]] | None = None,
        *,
        channel: int | None = None,
        advance: Callable[[float], None] | None = None,
    ) -> Hypothesis:
        """Characters and emissions of one recording; see `speechkit.asr.hypothesis.Recognizer`."""
        return greedy_decode(self.emissions(path, speech, channel=channel, advance=advance), self._emitter.silent)

    def emissions(
        self,
        path: str,
        speech: list[tuple[int, int]] | None = None,
        *,
        channel: int | None = None,
        advance: Callable[[float], None] | None = None,
    ) -> Emissions:
        """Log-probabilities (T, V) float16 of a whole recording; outside ``speech`` the blank is certain.

        Memory: the result, 2 * V bytes per frame, and one batch of windows.
        """
        info = audio_info(path)
        samples = round(info.num_samples * 16_000 / info.sample_rate)
        return self._emissions(samples, partial(stream_windows, path, channel=channel), speech, advance)

    def emissions_of(self, waveform: NDArray[np.float32]) -> Emissions:
        """`emissions` of a waveform (samples,) at 16 kHz."""
        return self._emissions(len(waveform), partial(cut_windows, waveform), None)

    def _emissions(
        self,
        samples: int,
        cut: Cut,
        speech: list[tuple[int, int]] | None,
        advance: Callable[[float], None] | None = None,
    ) -> Emissions:
        hop = self._emitter.frame_samples
        frames = -(-samples // hop)
        log_probs = np.full((frames, len(self._emitter.vocabulary)), OUTSIDE_SPEECH, np.float16)
        log_probs[:, self._emitter.blank] = 0.0
        spans = [(0, frames)]
        if speech is not None:
            margin = self._margin_frames
            widened = [
                (min(frames, max(0, begin // hop - margin)), min(frames, -(-end // hop) + margin))
                for begin, end in speech
            ]
            spans = merge_regions(widened, gap=self._context_frames)
        windows = plan_windows(frames, spans, self._window_frames, self._context_frames)
        last: tuple[Window, NDArray[np.float32]] | None = None
        for window, emitted in self._emit(cut(windows, hop)):
            end = min(window.begin + len(emitted), window.keep_end)
            begin = window.keep_begin
            if window.joined and last is not None:
                begin = self._join(*last, window, emitted)
            if advance is not None:
                advance((window.keep_end - window.keep_begin) * self._hop_seconds)
            log_probs[begin:end] = np.maximum(emitted[begin - window.begin : end - window.begin], -1e4)
            last = window, emitted
        return Emissions(log_probs, self._hop_seconds, self._emitter.vocabulary, self._emitter.blank)

    def _emit(self, stream: Windows) -> Windows:
        while batch := list(islice(stream, self._emitter.batch_size)):
            nonempty = [(window, waveform) for window, waveform in batch if len(waveform)]
            if nonempty:
                emitted = self._emitter.emit([waveform for _, waveform in nonempty])
                yield from zip([window for window, _ in nonempty], emitted, strict=True)

    def _join(
        self,
        earlier: Window,
        earlier_log_probs: NDArray[np.float32],
        later: Window,
        later_log_probs: NDArray[np.float32],
    ) -> int:
        """First frame of the recording to take from ``later``.

        It is never after the boundary, since later frames of the earlier window were not kept.
        """
        blank = self._emitter.blank
        begin = max(later.begin, earlier.keep_begin)
        boundary = later.keep_begin
        count = min(boundary, earlier.begin + len(earlier_log_probs)) - begin
        earlier_blank = earlier_log_probs[begin - earlier.begin :][:count, blank]
        later_blank = later_log_probs[begin - later.begin :][:count, blank]
        return begin + quiet_cut(earlier_blank, later_blank, count, self._context_frames // 2)


def quiet_cut(earlier: NDArray[np.float32], later: NDArray[np.float32], nominal: int, reach: int) -> int:
    """Frame at which to switch from one window to the next within their overlap.

    Args:
        earlier: (N,) blank log-probability of the overlapping frames in the earlier window.
        later: (N,) the same frames in the later window.
        nominal: preferred frame, 0..N.
        reach: maximum distance of the cut from ``nominal``.

    Returns:
        First frame of the later window: there the blank is most probable in both windows, so that no character is lost
        or doubled; ties prefer the frame nearest to ``nominal``.
    """
    count = len(earlier)
    if count < 2:
        return min(nominal, count)
    worst = np.minimum(earlier, later)
    both_sides = np.minimum(worst[:-1], worst[1:])  # a cut at k is between frames k - 1 and k
    cuts = np.arange(1, count)
    near = np.abs(cuts - nominal) <= reach
    if not near.any():
        return min(nominal, count)
    cuts, both_sides = cuts[near], both_sides[near]
    return int(cuts[np.argmax(both_sides - 1e-4 * np.abs(cuts - nominal))])
