"""One person's words in another's voice: frames of an encoder, made heard by a vocoder that takes them.

What is said stays in the frames of the source; who says it comes from a vector of the reference recording, or, by
nearest neighbours, from the reference's own frames, which then stand in for those of the source.

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
"""Of a reference whose frames are searched: more costs time and adds little."""


class Converter:
    """Vocoder and encoder that fit.

    Args:
        vocoder: of encoder frames.
        encoder: the one that made the frames it was trained on.

    Raises:
        UserError: if the vocoder takes other frames than the encoder makes, naming both.
    """

    def __init__(self, vocoder: Vocoder, encoder: Encoder) -> None:
        vocoder.config.input.require(encoder.spec, vocoder.name)
        self.vocoder, self.encoder = vocoder, encoder

    @property
    def rate(self) -> int:
        """Samples a second of what `convert` gives."""
        rate: int = self.vocoder.sample_rate
        return rate

    def convert(
        self, source: Path | str, reference: Path | str, *, neighbours: int = 0, seed: int = 0
    ) -> Iterator[Float]:
        """The source in the voice of the reference, in pieces of any length, in memory that does not grow with it.

        Args:
            source: a recording of any length.
            reference: a recording of who shall speak.
            neighbours: 0 leaves the source's frames as they are; else each becomes the mean of so many of the
                reference's frames that are nearest to it in angle. That wants minutes of reference.
            seed: of the vocoder's noise, where it has one.

        Raises:
            AudioError: if a recording cannot be read, or the reference is too short or silent.
            ConfigError: if neither the vocoder takes a speaker nor neighbours are asked for: nothing would change.
        """
        if neighbours < 0:
            raise ConfigError(f"neighbours is {neighbours}; give 0 or more")
        speaker = None
        if self.vocoder.speaker is not None:
            rate = self.vocoder.speaker.config.mel.sample_rate
            speaker = self.vocoder.reference(read_audio(reference, sample_rate=rate))
        elif not neighbours:
            raise ConfigError(f"{self.vocoder.name} takes no speaker; ask for neighbours, or take one that does")
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


def nearest_frames(blocks: Iterable[Float], known: Float, count: int) -> Iterator[Float]:
    """Each frame as the mean of the ``count`` known ones that are nearest to it in angle.

    Shapes: blocks (T, D), known (N, D) -> (T, D).

    Raises:
        UserError: if fewer frames are known than are asked for.
    """
    if len(known) < count:
        raise UserError(f"the reference has {len(known)} frames and {count} neighbours are wanted; give a longer one")
    directions = known / np.maximum(np.linalg.norm(known, axis=1, keepdims=True), 1e-9)
    for block in blocks:
        # The source's lengths do not change which frames are nearest.
        likeness = block @ directions.T
        nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        yield np.asarray(known[nearest].mean(axis=1), np.float32)
