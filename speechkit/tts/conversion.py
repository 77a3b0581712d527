"""Voice conversion: encoder frames of a source recording, vocoded in the voice of a reference recording.

The source's frames carry the content. The voice comes from a speaker vector of the reference or, with kNN conversion,
from the reference's own frames, which replace those of the source.

Sources: Siuzdak et al. 2022 (WavThruVec), section 3.4; Baas et al. 2023, Voice conversion with just nearest neighbors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speechkit.errors import ConfigError, UserError
from speechkit.io.arrays import Float
from speechkit.io.audio import read_audio, stream_audio

if TYPE_CHECKING:
    from speechkit.encoders.encoder import Encoder
    from speechkit.tts.vocoder import Vocoder

LONGEST_REFERENCE_SECONDS = 600.0
"""Upper limit of the reference that kNN conversion searches: more costs time and adds little."""


class Converter:
    """Converts voices with an encoder and a vocoder trained on its frames.

    Raises:
        UserError: if the vocoder was trained on other frames than the encoder makes, naming both.
    """

    def __init__(self, vocoder: Vocoder, encoder: Encoder) -> None:
        vocoder.config.input.require(encoder.spec, vocoder.name)
        self.vocoder, self.encoder = vocoder, encoder

    @property
    def rate(self) -> int:
        """Sample rate of the converted speech, in hertz."""
        rate: int = self.vocoder.sample_rate
        return rate

    def convert(
        self, source: Path | str, reference: Path | str, *, neighbours: int = 0, seed: int = 0
    ) -> Iterator[Float]:
        """Stream the source in the voice of the reference, in constant memory.

        Args:
            source: a recording of any length.
            reference: a recording of the target speaker.
            neighbours: k of kNN conversion: each source frame is replaced by the mean of its k nearest reference frames
                by cosine similarity, which needs minutes of reference. 0 keeps the source's frames.
            seed: seeds the vocoder's noise, if it draws any.

        Raises:
            AudioError: if a recording cannot be read, or the reference is too short or silent.
            ConfigError: if the vocoder takes no speaker and ``neighbours`` is 0: nothing would change.
        """
        if neighbours < 0:
            raise ConfigError(f"neighbours is {neighbours}; give 0 or more")
        speaker = None
        if self.vocoder.speaker is not None:
            rate = self.vocoder.speaker.config.mel.sample_rate
            speaker = self.vocoder.reference(read_audio(reference, sample_rate=rate))
        elif not neighbours:
            raise ConfigError(
                f"{self.vocoder.name} takes no speaker; set neighbours, or choose a vocoder that takes one"
            )
        blocks = stream_audio(source, sample_rate=self.encoder.spec.sample_rate)
        frames = self.encoder.stream(blocks)
        if neighbours:
            frames = nearest_frames(frames, self._reference_frames(reference), neighbours)
        pieces: Iterator[Float] = self.vocoder.stream(frames, speaker, seed)
        return pieces

    def _reference_frames(self, reference: Path | str) -> Float:
        from speechkit.tts.speaker import check_reference

        rate = self.encoder.spec.sample_rate
        waveform = read_audio(reference, sample_rate=rate)[: int(LONGEST_REFERENCE_SECONDS * rate)]
        check_reference(waveform, rate)
        return np.concatenate([*self.encoder.stream([waveform])])


def nearest_frames(blocks: Iterable[Float], reference: Float, count: int) -> Iterator[Float]:
    """Replace each frame by the mean of the ``count`` reference frames nearest to it by cosine similarity.

    Shapes: blocks (T, D), reference (N, D) -> (T, D).

    Raises:
        UserError: if the reference has fewer than ``count`` frames.
    """
    if len(reference) < count:
        raise UserError(f"the reference has {len(reference)} frames for {count} neighbours; give a longer recording")
    directions = reference / np.maximum(np.linalg.norm(reference, axis=1, keepdims=True), 1e-9)
    for block in blocks:
        # The norm of a source frame does not change its ranking.
        similarity = block @ directions.T
        nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        yield np.asarray(reference[nearest].mean(axis=1), np.float32)
