"""The one interface of all encoders: waveforms in, frames of 20 ms out.

Notation used for array shapes: S samples at 16 kHz, T = S // 320 frames, D width, L layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import AudioError
from speechkit.io.audio import audio_info
from speechkit.io.windows import plan_windows, stream_windows

Float = NDArray[np.float32]


class Encoder(ABC):
    """Frames of one layer, or of a weighted sum of layers.

    A frame t stands for the samples from 320 t to 320 (t + 1); a rest shorter than a frame has none. An item gives the
    same frames alone and in any batch.
    """

    spec: EncoderSpec
    num_layers: int

    @abstractmethod
    def encode_batch(self, waveforms: Sequence[Float]) -> list[Float]:
        """Frames (T, D) of each waveform (S,), float32 in [-1, 1] at 16 kHz.

        Raises:
            AudioError: if a waveform is not one-dimensional or holds NaN or infinity, with its place in the batch.
        """

    @abstractmethod
    def encode_layers(self, waveform: Float) -> Float:
        """The input of the first layer and the output of every layer that is there: (L + 1, T, D)."""

    def encode(self, waveform: Float) -> Float:
        """Frames (T, D) of one waveform (S,)."""
        return self.encode_batch([waveform])[0]

    def num_frames(self, samples: int) -> int:
        """Frames of a waveform of so many samples."""
        return samples // self.spec.hop

    def encode_long(
        self, path: str | Path, window_seconds: float = 20.0, context_seconds: float = 2.0
    ) -> Iterator[Float]:
        """Frames of a recording of any length, window by window, in memory that does not grow with it.

        Each window also hears the seconds before and behind it; what was computed of those is thrown away. What this
        changes against encoding the recording at once is measured by `window_deviation`.
        """
        rate, hop = self.spec.sample_rate, self.spec.hop
        frames = round(audio_info(path).duration * rate) // hop
        window, context = (round(seconds * rate / hop) for seconds in (window_seconds, context_seconds))
        plan = plan_windows(frames, [(0, frames)] if frames else [], window, context)
        for part, waveform in stream_windows(str(path), plan, hop, sample_rate=rate):
            kept = self.encode(waveform)[part.keep_begin - part.begin : part.keep_end - part.begin]
            if len(kept) != part.keep_end - part.keep_begin:
                raise AudioError(f"{path}: ends after {part.begin + len(kept)} of {frames} frames; decode it again")
            yield kept

    def stream(
        self, blocks: Iterable[Float], window_seconds: float = 20.0, context_seconds: float = 2.0
    ) -> Iterator[Float]:
        """Frames of samples that arrive in blocks of any length; how the blocks are cut changes nothing.

        Frames come once a window and the context behind it have been heard, or the blocks end.
        """
        for window, begin, end in self._windows(blocks, window_seconds, context_seconds):
            yield self.encode(window)[begin:end]

    def stream_layers(
        self, blocks: Iterable[Float], window_seconds: float = 20.0, context_seconds: float = 2.0
    ) -> Iterator[Float]:
        """All layers (L + 1, T, D) of such samples; see `stream`."""
        for window, begin, end in self._windows(blocks, window_seconds, context_seconds):
            yield self.encode_layers(window)[:, begin:end]

    def _windows(
        self, blocks: Iterable[Float], window_seconds: float, context_seconds: float
    ) -> Iterator[tuple[Float, int, int]]:
        """Windows with their context, and which of their frames are wanted; without any frame, an empty one."""
        hop = self.spec.hop
        rate = self.spec.sample_rate / hop
        window, context = (round(seconds * rate) * hop for seconds in (window_seconds, context_seconds))
        held, before, begun = np.zeros(0, np.float32), 0, False
        for block in blocks:
            held = np.concatenate([held, np.asarray(block, np.float32)])
            while len(held) >= before + window + context:
                yield held[: before + window + context], before // hop, (before + window) // hop
                begun = True
                kept = min(context, before + window)
                held, before = held[before + window - kept :], kept
        if len(held) - before >= hop or not begun:
            yield held, before // hop, len(held) // hop


def window_deviation(encoder: Encoder, path: str | Path, whole: Float) -> tuple[float, float]:
    """How far windowed frames lie from those of the whole recording.

    Returns:
        the relative error (norm of the difference by the norm of the whole) and the lowest cosine of a frame.
    """
    windowed = np.concatenate(list(encoder.encode_long(path)))
    error = float(np.linalg.norm(windowed - whole) / max(float(np.linalg.norm(whole)), 1e-12))
    norms = np.linalg.norm(windowed, axis=1) * np.linalg.norm(whole, axis=1)
    cosine = (windowed * whole).sum(1) / np.maximum(norms, 1e-12)
    return error, float(cosine.min())


def checked(waveforms: Sequence[Float]) -> list[Float]:
    """The waveforms as float32, each one-dimensional and finite.

    Raises:
        AudioError: naming the first that is not.
    """
    ready = []
    for place, waveform in enumerate(waveforms):
        item = np.asarray(waveform, np.float32)
        if item.ndim != 1:
            raise AudioError(f"waveform {place} has shape {item.shape}; an encoder takes one channel, shape (samples,)")
        if not np.isfinite(item).all():
            raise AudioError(f"waveform {place} holds NaN or infinity; mend the recording or leave it out")
        ready.append(item)
    return ready
