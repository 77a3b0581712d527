"""NumPy interface of encoders: waveforms to frames; windows and streams for recordings of any length.

Notation used for array shapes: S samples at the encoder's rate, T = `Encoder.num_frames` of S, D width, L layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import torch
from torch import Tensor

from speechkit.encoders.model import ALL, LAST, SpeechEncoder
from speechkit.errors import AudioError, ConfigError
from speechkit.io.arrays import Float
from speechkit.io.audio import stream_audio
from speechkit.io.hashing import digest_obj

WINDOW_SECONDS = 30.0
CONTEXT_SECONDS = 5.0
"""Window and context in seconds for files, streams and manifest rows; audio no longer than their sum is not cut."""
GROUP_SECONDS, MAX_LENGTH_RATIO = 16.0, 1.1
"""On a CPU, maximum seconds of speech per batch, and maximum ratio of the longest to the shortest item: small matrix
products are slow, and so is padding."""


class Encoder:
    """Frames of one layer, or of a weighted sum of layers; evaluation only.

    Frame t covers the samples from hop t to hop (t + 1); a remainder shorter than a frame has none. On the ``compat``
    grid, final frames without a full receptive field are missing. Frames are the same alone and in any batch.

    Args:
        model: the encoder, truncated to the layer.
        layer_weights: one weight per layer, from layer 0, for a weighted sum instead.
        device: ``cpu``, ``cuda:0`` …
        dtype: ``auto`` for bfloat16 where it is faster, ``float32``, or ``bfloat16``.

    Raises:
        ConfigError: if the number of weights is wrong, or layers differ in width.
    """

    def __init__(
        self,
        model: SpeechEncoder,
        layer_weights: Sequence[float] | None = None,
        device: str = "cpu",
        dtype: Literal["auto", "float32", "bfloat16"] = "float32",
    ):
        from speechkit.runtime import autocast_dtype

        model.for_inference(device)
        self.model, self.device = model, device
        self.spec, self.num_layers = model.spec, model.num_layers
        self._half = {"auto": autocast_dtype(device), "float32": None, "bfloat16": torch.bfloat16}[dtype]
        self._weights: Tensor | None = None
        if layer_weights is not None:
            name = model.spec.model
            if len(set(model.dims)) > 1:
                raise ConfigError(f"{name}: its layers differ in width; choose one of them instead of layer_weights")
            if len(layer_weights) != len(model.dims):
                raise ConfigError(
                    f"{name}: there are {len(layer_weights)} layer_weights; give {len(model.dims)}, beginning with "
                    "layer 0, the input of the first"
                )
            self._weights = torch.tensor(layer_weights, dtype=torch.float32)
            rounded = [round(float(weight), 6) for weight in layer_weights]
            self.spec = msgspec.structs.replace(model.spec, layer=f"weighted:{digest_obj(rounded)}")

    def encode_batch(self, waveforms: Sequence[Float]) -> list[Float]:
        """Frames (T, D) of each waveform (S,), float32 in [-1, 1] at the encoder's sample rate.

        Raises:
            AudioError: if a waveform is not one-dimensional or holds NaN or infinity, with its index in the batch.
        """
        weights = self._weights
        frames = []
        # Only one layer is copied from the device; all would be many times as large.
        for states in self._states(checked(waveforms), LAST if weights is None else ALL):
            chosen = states[0] if weights is None else torch.tensordot(weights, states, dims=1)
            frames.append(np.asarray(chosen.numpy(), np.float32))
        return frames

    def encode_layers(self, waveform: Float) -> Float:
        """The input of the first layer and the output of every layer: (L + 1, T, D).

        Layers narrower than the last are padded with zeros, wider ones are cut.
        """
        return np.asarray(self._states(checked([waveform]), ALL)[0].numpy(), np.float32)

    def _states(self, waveforms: list[Float], layers: slice) -> list[Tensor]:
        """The requested layers of each waveform (layers, T, D), float32; T is 0 for those shorter than a frame."""
        empty = torch.zeros(len(self.model.dims[layers]), 0, self.spec.dim)
        result = [empty] * len(waveforms)
        half = self._half
        autocast = torch.autocast(self.device.split(":")[0], half) if half is not None else nullcontext()
        for indices in self._batches(waveforms):
            prepared = [torch.from_numpy(self.model.prepare(waveforms[index])) for index in indices]
            lengths = torch.tensor([len(waveform) for waveform in prepared])
            inputs = torch.nn.utils.rnn.pad_sequence(prepared, batch_first=True)
            with torch.inference_mode(), autocast:
                states, frames = self.model(inputs, lengths, layers)
            for row, (index, count) in enumerate(zip(indices, frames.tolist(), strict=True)):
                items = [fitted(state[row, :count], self.spec.dim) for state in states]
                result[index] = torch.stack(items).float().cpu()
        return result

    def _batches(self, waveforms: list[Float]) -> list[list[int]]:
        """Batches of waveform indices: all together, or on a CPU by length; without those shorter than a frame."""
        sizes = {index: len(waveform) for index, waveform in enumerate(waveforms) if self.num_frames(len(waveform))}
        if self.device != "cpu":
            return [list(sizes)] if sizes else []
        groups: list[list[int]] = []
        max_samples = GROUP_SECONDS * self.spec.sample_rate
        for index in sorted(sizes, key=sizes.__getitem__):
            size = sizes[index]
            group = groups[-1] if groups else []
            if group and size <= MAX_LENGTH_RATIO * sizes[group[0]] and (len(group) + 1) * size <= max_samples:
                group.append(index)
            else:
                groups.append([index])
        return groups

    def encode(self, waveform: Float) -> Float:
        """Frames (T, D) of one waveform (S,)."""
        return self.encode_batch([waveform])[0]

    def num_frames(self, samples: int) -> int:
        """Frames of a waveform of this many samples."""
        return int(self.model.frame_lengths(torch.tensor(samples)))

    def most_at_once(self) -> int:
        """Samples of the longest waveform that `stream` encodes at once."""
        return sum(self._plan(WINDOW_SECONDS, CONTEXT_SECONDS)) * self.spec.hop + self.model.overlap

    def _plan(self, window_seconds: float, context_seconds: float) -> tuple[int, int]:
        """Frames of a window and of its context, limited by the encoder's maximum.

        Raises:
            ConfigError: if a window is shorter than a frame, or the context negative.
        """
        rate, most = self.spec.frame_rate, self.model.most_frames
        window, context = round(window_seconds * rate), round(context_seconds * rate)
        if window < 1 or context < 0:
            raise ConfigError(
                f"the window is {window_seconds:g} s and the context {context_seconds:g} s; give a window of at least "
                "a frame and a context of at least 0"
            )
        if most is not None and window + 2 * context > most:
            context = min(context, most // 6)
            window = min(window, most - 2 * context)
        return window, context

    def encode_long(
        self, path: str | Path, window_seconds: float = WINDOW_SECONDS, context_seconds: float = CONTEXT_SECONDS
    ) -> Iterator[Float]:
        """Frames of a recording of any length, window by window, in bounded memory; see `stream`.

        `window_deviation` measures the difference from encoding the recording at once.
        """
        yield from self.stream(stream_audio(path, sample_rate=self.spec.sample_rate), window_seconds, context_seconds)

    def stream(
        self,
        blocks: Iterable[Float],
        window_seconds: float = WINDOW_SECONDS,
        context_seconds: float = CONTEXT_SECONDS,
    ) -> Iterator[Float]:
        """Frames of samples that arrive in blocks of any length; block borders have no effect.

        Frames are returned once a window and its following context have arrived, or at the end. Frames of the context
        on both sides are discarded.
        """
        for window, begin, end in self._windows(blocks, window_seconds, context_seconds):
            yield self.encode(window)[begin:end]

    def stream_layers(
        self,
        blocks: Iterable[Float],
        window_seconds: float = WINDOW_SECONDS,
        context_seconds: float = CONTEXT_SECONDS,
    ) -> Iterator[Float]:
        """All layers (L + 1, T, D) of such samples; see `stream`."""
        for window, begin, end in self._windows(blocks, window_seconds, context_seconds):
            yield self.encode_layers(window)[:, begin:end]

    def _windows(
        self, blocks: Iterable[Float], window_seconds: float, context_seconds: float
    ) -> Iterator[tuple[Float, int, int]]:
        """Windows with their context, and the range of their frames to keep; an empty one if there are no frames."""
        hop = self.spec.hop
        window, context = (frames * hop for frames in self._plan(window_seconds, context_seconds))
        after = context + self.model.overlap
        buffer, before, yielded = np.zeros(0, np.float32), 0, False
        for block in blocks:
            buffer = np.concatenate([buffer, np.asarray(block, np.float32)])
            while len(buffer) > before + window + after:
                yield buffer[: before + window + after], before // hop, (before + window) // hop
                yielded = True
                kept = min(context, before + window)
                buffer, before = buffer[before + window - kept :], kept
        frames = self.num_frames(len(buffer))
        if frames > before // hop or not yielded:
            yield buffer, before // hop, frames


def window_deviation(encoder: Encoder, path: str | Path, whole: Float) -> tuple[float, float]:
    """Deviation of windowed frames from those of the whole recording.

    Returns:
        the relative error (norm of the difference by the norm of the whole) and the lowest cosine of a frame.
    """
    windowed = np.concatenate(list(encoder.encode_long(path)))
    if windowed.shape != whole.shape:
        raise AudioError(
            f"{path}: {len(windowed)} frames in windows and {len(whole)} at once differ; decode the recording again"
        )
    error = float(np.linalg.norm(windowed - whole) / max(float(np.linalg.norm(whole)), 1e-12))
    norms = np.linalg.norm(windowed, axis=1) * np.linalg.norm(whole, axis=1)
    cosine = (windowed * whole).sum(1) / np.maximum(norms, 1e-12)
    return error, float(cosine.min())


def fitted(frames: Tensor, dim: int) -> Tensor:
    """Frames (T, D) zero-padded or cut to width ``dim``."""
    width = frames.shape[1]
    return frames if width == dim else torch.nn.functional.pad(frames[:, :dim], (0, max(0, dim - width)))


def checked(waveforms: Sequence[Float]) -> list[Float]:
    """The waveforms as float32, each one-dimensional and finite.

    Raises:
        AudioError: naming the first that is not.
    """
    items = []
    for index, waveform in enumerate(waveforms):
        item = np.asarray(waveform, np.float32)
        if item.ndim != 1:
            raise AudioError(f"waveform {index} has shape {item.shape}; give one channel, shape (samples,)")
        if not np.isfinite(item).all():
            raise AudioError(f"waveform {index} has NaN or infinity; fix or remove the recording")
        items.append(item)
    return items
