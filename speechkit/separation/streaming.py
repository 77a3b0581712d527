"""Streaming separation with bounded latency; files are separated by the same stream.

Notation used for array shapes: N tracks, S samples, W samples of a window.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np

from speechkit.errors import AudioError, ConfigError
from speechkit.io.arrays import Float
from speechkit.io.audio import scaled
from speechkit.io.layout import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from speechkit.separation.counting import Evidence, EvidenceCounter
from speechkit.separation.stitching import Join, Stitcher, fit_levels
from speechkit.separation.voices import Embed, VoiceMemory, embed_voice

LEVEL = 0.1
"""RMS to which every window is scaled before the network, whatever the recording's level."""
SILENT = 1e-5
"""RMS (-100 dB) below which a window is silent and is not separated."""
OFFSET_SHARE = 0.02
"""A mean above this share of the standard deviation, and above chance, is a DC offset of the recorder."""
SMOOTH_SECONDS = 0.05
WINDOW_SECONDS = (0.5, 300.0)
"""Range of the length of a window."""


class WindowSeparator(Protocol):
    """Interface of a separator of windows: ``speakers`` tracks from a mixture at ``sample_rate`` in Hz."""

    @property
    def sample_rate(self) -> int:
        """Sample rate in Hz."""

    @property
    def speakers(self) -> int:
        """Number of output tracks."""

    @property
    def batch_size(self) -> int:
        """Windows per batch."""

    def separate_windows(self, windows: Float) -> Float:
        """Mixtures (B, W) -> estimates (B, N, W), at any level."""


class Windowing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a long mixture is split into windows; they overlap by at most half."""

    window_seconds: float = 8.0
    overlap_seconds: float = 2.0

    def __post_init__(self) -> None:
        if not WINDOW_SECONDS[0] <= self.window_seconds <= WINDOW_SECONDS[1]:
            raise ConfigError(
                f"windows are {self.window_seconds:g} s; give {WINDOW_SECONDS[0]:g} to {WINDOW_SECONDS[1]:g}, since "
                "memory grows with their length, and many short ones take long"
            )
        if not 0 < self.overlap_seconds <= self.window_seconds / 2:
            raise ConfigError(
                f"windows are {self.window_seconds:g} s and overlap by {self.overlap_seconds:g} s; give an overlap "
                "above 0 and of at most half the window"
            )


DEFAULT_WINDOWING = Windowing()


class SeparationStream:
    """Separates a mixture that arrives in blocks of any length; the result does not depend on the blocks.

    Latency: at most ``window_seconds`` plus some ten milliseconds of the resampler. The tracks of a window sum to its
    mixture without the DC offset; they may exceed 1 where they cancel each other.

        stream = SeparationStream(separator, 16_000)
        for block in blocks:
            tracks = stream.push(block)      # (N, n), n may be 0
        tracks = stream.finish()
        stream.evidence                      # for `count_speakers`

    Args:
        separator: see `speechkit.separation.separate.load_window_separator`.
        rate: sample rate of the mixture in Hz.
        out_rate: sample rate of the tracks; that of the mixture if None.
        windowing: how the mixture is split into windows.
        embed: speaker embedding, for joins in silence and for counting.

    Raises:
        ConfigError: if a rate is out of range.
    """

    def __init__(
        self,
        separator: WindowSeparator,
        rate: int,
        *,
        out_rate: int | None = None,
        windowing: Windowing = DEFAULT_WINDOWING,
        embed: Embed = embed_voice,
    ):
        self.separator, self.rate, self.out_rate = separator, rate, rate if out_rate is None else out_rate
        for value in (self.rate, self.out_rate):
            if not MIN_SAMPLE_RATE <= value <= MAX_SAMPLE_RATE:
                raise ConfigError(f"the sample rate is {value} Hz; give {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}")
        own = separator.sample_rate
        self._window = max(2, round(windowing.window_seconds * own))
        self._overlap = max(1, round(windowing.overlap_seconds * own))
        self._smooth = round(SMOOTH_SECONDS * own)
        self.memory = VoiceMemory(separator.speakers, own, embed)
        self._stitcher = Stitcher(separator.speakers, self._overlap, self.memory.order)
        self._counter = EvidenceCounter(separator.speakers, own)
        self._in, self._out = _Resampler(rate, own, 1), _Resampler(own, self.out_rate, separator.speakers)
        self._held = np.zeros(0, np.float32)  # the mixture from sample ``_origin`` on, at the separator's rate
        self._origin = self._next = self._received = self._given = 0
        self._sum = self._squares = 0.0
        self._finished = False

    @property
    def offset(self) -> float:
        """DC offset of the mixture so far; 0 if its mean is not significant."""
        mean = self._sum / max(1, self._received)
        return mean if is_offset(mean, self._squares / max(1, self._received) - mean**2, self._received) else 0.0

    @property
    def joins(self) -> list[Join]:
        """Joins of windows, in samples at the separator's rate, with what decided the order of the speakers."""
        return self._stitcher.joins

    @property
    def evidence(self) -> Evidence:
        """Evidence of the number of speakers in the tracks so far."""
        return self._counter.evidence(self.memory.voices())

    def push(self, block: Float) -> Float:
        """Add a block (S,); returns the samples of the tracks that are now final (N, n), float32.

        Raises:
            AudioError: if the block has another shape, holds NaN or infinity (naming the sample), or the stream ended.
        """
        if self._finished:
            raise AudioError("the stream is finished; begin a new one for another recording")
        samples = np.asarray(block, np.float32)
        if samples.ndim != 1:
            raise AudioError(
                f"the block has shape {samples.shape}; give one channel, (samples,): average or choose channels"
            )
        if not np.isfinite(samples).all():
            index = self._received + int(np.argmin(np.isfinite(samples)))
            at = f"sample {index} ({index / self.rate:.2f} s)"
            raise AudioError(f"{at} is NaN or infinite; fix or remove the recording")
        self._received += len(samples)
        self._sum += float(samples.sum(dtype=np.float64))
        self._squares += float(np.square(samples, dtype=np.float64).sum())
        self._held = np.concatenate([self._held, self._in.push(samples)[:, 0]])
        return self._resampled(self._ready())

    def finish(self) -> Float:
        """The remaining samples of the tracks; in total they are as long as the mixture at ``out_rate``."""
        if self._finished:
            return np.zeros((self.separator.speakers, 0), np.float32)
        self._finished = True
        total = scaled(self._received, self.separator.sample_rate, self.rate)
        remaining = self._in.finish()[:, 0]
        end = self._origin + len(self._held)
        self._held = np.concatenate([self._held, _fitted(remaining[None], total - end)[0]])
        parts = [self._ready()]
        if self._next == 0 and total:
            parts.append(self._separated([(0, self._held)]))
        elif self._next and total > self._next + self._overlap:
            # The last window ends with the recording, so that it has full length too.
            begin = total - self._window
            parts.append(self._separated([(begin, self._held[begin - self._origin :])]))
        last = self._stitcher.finish()
        self._record(last)
        tracks = np.concatenate([*parts, last], axis=1)
        resampled = np.concatenate([self._out.push(tracks.T), self._out.finish()]).T
        return _fitted(resampled, scaled(self._received, self.out_rate, self.rate) - self._given)

    def _ready(self) -> Float:
        """Tracks of the complete windows so far."""
        hop = self._window - self._overlap
        parts = [np.zeros((self.separator.speakers, 0), np.float32)]
        while self._origin + len(self._held) >= self._next + self._window:
            complete = (self._origin + len(self._held) - self._next - self._window) // hop + 1
            begins = [self._next + hop * index for index in range(min(complete, max(1, self.separator.batch_size)))]
            windows = [(begin, self._held[begin - self._origin :][: self._window]) for begin in begins]
            parts.append(self._separated(windows))
            self._next = begins[-1] + hop
            self._held = self._held[begins[-1] - self._origin :]
            self._origin = begins[-1]
        return np.concatenate(parts, axis=1)

    def _separated(self, windows: list[tuple[int, Float]]) -> Float:
        """Separate windows of equal length, given with their begins; returns the samples that are final with them."""
        mixtures = [without_offset(window) for _, window in windows]
        levels = [float(np.sqrt(np.mean(np.square(window, dtype=np.float64)))) for window in mixtures]
        loud = [index for index, level in enumerate(levels) if level >= SILENT]
        estimates = np.zeros((len(windows), self.separator.speakers, len(mixtures[0])), np.float32)
        if loud:
            inputs = np.stack([mixtures[index] * np.float32(LEVEL / levels[index]) for index in loud])
            for index, unscaled in zip(loud, self.separator.separate_windows(inputs), strict=True):
                estimates[index] = fit_levels(mixtures[index], unscaled, self._smooth)
        parts = []
        for (begin, _), tracks in zip(windows, estimates, strict=True):
            ready = self._stitcher.add(begin, tracks)
            self._record(ready)
            parts.append(ready)
        return np.concatenate(parts, axis=1)

    def _record(self, tracks: Float) -> None:
        self.memory.remember(tracks)
        self._counter.add(tracks)

    def _resampled(self, tracks: Float) -> Float:
        ready: Float = self._out.push(tracks.T).T
        self._given += ready.shape[1]
        return ready


def is_offset(mean: float, variance: float, samples: int) -> bool:
    """Whether a mean is a DC offset; smaller ones are kept, so that digital silence stays silence."""
    share = max(OFFSET_SHARE, 4 / max(1, samples) ** 0.5)
    return mean * mean > share**2 * max(variance, 0.0) and abs(mean) > SILENT


def without_offset(mixture: Float) -> Float:
    """Remove the DC offset of a window (W,)."""
    if not len(mixture):
        return mixture
    mean = float(mixture.mean(dtype=np.float64))
    return (
        mixture - np.float32(mean) if is_offset(mean, float(mixture.var(dtype=np.float64)), len(mixture)) else mixture
    )


class _Resampler:
    """Streaming resampler of samples (n, channels); equal rates pass through."""

    def __init__(self, source: int, target: int, channels: int):
        import soxr

        self.channels = channels
        self._stream = None if source == target else soxr.ResampleStream(source, target, channels, dtype="float32")

    def push(self, samples: Float) -> Float:
        block = np.ascontiguousarray(samples.reshape(-1, self.channels))
        if self._stream is None or not len(block):
            return block
        return np.asarray(self._stream.resample_chunk(block), np.float32).reshape(-1, self.channels)

    def finish(self) -> Float:
        empty = np.zeros((0, self.channels), np.float32)
        if self._stream is None:
            return empty
        return np.asarray(self._stream.resample_chunk(empty, last=True), np.float32).reshape(-1, self.channels)


def _fitted(tracks: Float, length: int) -> Float:
    """Cut, or padded with the last sample: resamplers may give a sample more or less at the end."""
    if tracks.shape[1] >= length:
        return tracks[:, :length]
    missing = length - tracks.shape[1]
    return np.pad(tracks, ((0, 0), (0, missing)), mode="edge" if tracks.shape[1] else "constant")
