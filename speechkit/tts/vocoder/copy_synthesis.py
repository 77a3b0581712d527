"""Recordings through a vocoder: what it takes of them, and the speech that it makes of that."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.tts.vocoder.config import EncoderInput, MelInput
from speechkit.tts.vocoder.vocoder import Vocoder

ARRIVING_FRAMES = 10
"""A block of frames, as a stream would bring them."""
CHUNK_SECONDS = 2.0
"""Of speech made at once behind the first chunk, which is short: the longer, the less is made twice."""

Analysis = Callable[[Float], NDArray[Any]]
"""A waveform (S,) at 16 kHz, or the rate of the log-mel frames, to frames (T, D) or units (T,)."""


@dataclass(frozen=True)
class Synthesis:
    """Speech of a vocoder, and how quick it was.

    Attributes:
        waveform: (S,).
        rate: samples a second.
        taken_seconds: until all of it was there.
        first_seconds: until its first samples were there, the frames being there from the beginning.
    """

    waveform: Float
    rate: int
    taken_seconds: float
    first_seconds: float

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.waveform) / self.rate


def synthesize(vocoder: Vocoder, frames: NDArray[Any], speaker: Float | None = None, seed: int = 0) -> Synthesis:
    """Speech of frames (T, D) or units (T,), made as a stream; see `Vocoder.stream`.

    Raises:
        UserError: as `Vocoder.generate`.
    """
    began = time.perf_counter()
    first = 0.0
    parts: list[Float] = []
    blocks = (frames[begin : begin + ARRIVING_FRAMES] for begin in range(0, len(frames), ARRIVING_FRAMES))
    chunk = round(CHUNK_SECONDS * vocoder.config.input.frame_rate)
    for part in vocoder.stream(blocks, speaker, seed, chunk_frames=chunk):
        parts.append(part)
        first = first or time.perf_counter() - began
    waveform = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return Synthesis(waveform, vocoder.sample_rate, time.perf_counter() - began, first)


def analysis_of(
    vocoder: Vocoder, encoder: str = "embedded", codebook: str = "embedded-100", device: str = "cpu"
) -> tuple[Analysis, int]:
    """What turns recordings into this vocoder's input, and the sample rate at which it takes them.

    Args:
        vocoder: says what it takes.
        encoder: name of the encoder, where frames or units of one are taken.
        codebook: of the units, where they are taken.
        device: of the encoder.

    Raises:
        UserError: if encoder, layer or codebook are not those of the vocoder.
    """
    taken = vocoder.config.input
    if isinstance(taken, MelInput):
        import torch

        from speechkit.nn.mel import MelSpectrogram

        mel = MelSpectrogram(taken.mel)

        def frames_of(waveform: Float) -> NDArray[Any]:
            frames: Float = mel(torch.from_numpy(waveform)).numpy()
            return frames

        return frames_of, taken.mel.sample_rate
    from speechkit.encoders.load import load_encoder
    from speechkit.encoders.stages import encode_frames

    if isinstance(taken, EncoderInput):
        loaded = load_encoder(encoder, layer=_layer(taken.encoder), device=device)
        taken.require(loaded.spec, vocoder.name)
        return lambda waveform: encode_frames(loaded, waveform), loaded.spec.sample_rate
    from speechkit.units.quantizers import load_quantizer, unit_sets

    quantizer = load_quantizer(codebook)
    taken.require(unit_sets(quantizer)[0], vocoder.name)
    spec = quantizer.spec.encoder
    if spec is None:
        raise UserError(f"{codebook}: does not say of which encoder it is; take another codebook")
    named = load_encoder(encoder, layer=_layer(spec), device=device)
    spec.require(named.spec, f"the codebook {codebook}")
    return lambda waveform: quantizer.assign(encode_frames(named, waveform)), named.spec.sample_rate


def _layer(spec: EncoderSpec) -> int:
    """The one layer of a spec.

    Raises:
        UserError: if it is of several.
    """
    if not spec.layer.isdigit():
        raise UserError(f"{spec.model}: layer {spec.layer} is not one layer; take a vocoder of one")
    return int(spec.layer)
