"""Syllable tokens: segments of speech, each named by the unit of its mean frame, and one unit of silence.

Source: Cho et al. 2024, Sylber, appendix A.2.3 (k-means of segment means; a long gap is a token of silence).

Notation used for array shapes: T frames, D their width, n segments, N units, P powers of 5 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.io.atomic import write_json
from speechkit.io.hashing import digest_obj
from speechkit.syllables.envelope import EnvelopeSegmenter, power_tee
from speechkit.syllables.segmenters import make_segmenter
from speechkit.syllables.segments import HOP_SECONDS, Boundaries, segment_means
from speechkit.syllables.tokens import add_silence_tokens, token_bounds
from speechkit.units.codebook import Codebook, read_spec

SPEC_FILE, CODEBOOK_FOLDER = "quantizer.json", "codebook"
LONGEST_GAP = 7
"""Frames between segments that are no silence of their own, as published."""


class SyllableSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="syllables", tag_field="kind"):
    """What syllable tokens must agree with.

    Attributes:
        encoder: of the frames whose means are named.
        clusters: units of the codebook and, as the last one, silence.
        codebook: its digest.
        segmenter: ``envelope``, which cuts waveforms, or a name of `make_segmenter`, which cut frames.
        settings: of the segmenter.
        origin: (D,) that is taken off every frame before it is cut, see `Thresholds.centred`; means are of frames as
            they are.
        longest_gap: frames; a longer stretch without a segment is one token of silence, a shorter one belongs to the
            segment before it.
    """

    encoder: EncoderSpec
    clusters: int
    codebook: str
    segmenter: str
    settings: dict[str, float] = {}
    origin: list[float] | None = None
    longest_gap: int = LONGEST_GAP

    @property
    def digest(self) -> str:
        """Of all that decides which unit a stretch of speech gets."""
        return digest_obj([self.codebook, self.segmenter, self.settings, self.origin, self.longest_gap])


class SyllableQuantizer:
    """Names segments instead of frames.

    Args:
        codebook: of segment means.
        segmenter: see `SyllableSpec`.
        settings: of the segmenter.
        origin: see `SyllableSpec`.
        longest_gap: frames.

    Raises:
        UserError: if the codebook does not say its encoder, or that gives frames at another rate than segmenters take.
        ConfigError: if there is no such segmenter or setting.
    """

    def __init__(
        self,
        codebook: Codebook,
        segmenter: str,
        settings: dict[str, float] | None = None,
        *,
        origin: list[float] | None = None,
        longest_gap: int = LONGEST_GAP,
    ) -> None:
        encoder = codebook.spec.encoder
        if encoder is None:
            raise UserError("the codebook of segments does not say which encoder it was made with; train it again")
        encoder.require_rates("syllable tokens", 1 / HOP_SECONDS)
        if origin is not None and len(origin) != encoder.dim:
            raise UserError(f"the origin has {len(origin)} values, the frames of {encoder.model} have {encoder.dim}")
        self.codebook = codebook
        chosen = dict(settings or {})
        self._envelope = EnvelopeSegmenter(**chosen) if segmenter == "envelope" else None
        self._frames = None if segmenter == "envelope" else make_segmenter(segmenter, **chosen)
        self._origin = None if origin is None else np.asarray(origin, np.float32)
        clusters = codebook.spec.clusters + 1
        self.spec = SyllableSpec(encoder, clusters, codebook.spec.digest, segmenter, chosen, origin, longest_gap)

    @property
    def silence(self) -> int:
        """The unit of silence."""
        return self.spec.clusters - 1

    def check(self, encoder: EncoderSpec, what: str = "the quantizer") -> None:
        """Refuse features of another encoder or layer.

        Raises:
            UserError: naming both and the first field that differs.
        """
        self.spec.encoder.require(encoder, what)

    def listen(self, blocks: Iterable[Float], powers: list[NDArray[np.float64]]) -> Iterator[Float]:
        """The blocks of a waveform as they come; what the envelope needs of them is put into ``powers``."""
        return iter(blocks) if self._envelope is None else power_tee(blocks, powers)

    def boundaries(self, frames: Float, powers: list[NDArray[np.float64]]) -> Boundaries:
        """Segments (n, 2) of the frames (T, D) of a recording, whose waveform `listen` heard."""
        if self._frames is not None:
            return self._frames.segment(frames if self._origin is None else frames - self._origin)
        assert self._envelope is not None
        found = np.minimum(self._envelope.segment_powers(np.concatenate([np.zeros(0), *powers])), len(frames))
        return found[found[:, 0] < found[:, 1]]

    def tokens(
        self, frames: Float, powers: list[NDArray[np.float64]] | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Units (N,) and their frames (N,), which are all T of the recording; two of one unit may follow one another.

        Args:
            frames: (T, D).
            powers: what `listen` was given; only the envelope needs it.

        Raises:
            UserError: if the envelope is to cut frames without a waveform, or they are not finite.
        """
        if self._envelope is not None and powers is None:
            raise UserError(
                "these syllable tokens are cut by the amplitude, which stored features lack; use speechkit units encode"
            )
        if not len(frames):
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        cut = self.boundaries(frames, powers or [])
        labels = self.codebook.assign(segment_means(frames, cut)) if len(cut) else np.zeros(0, np.int32)
        named = add_silence_tokens(labels, cut, len(frames), self.silence, self.spec.longest_gap)
        if not named:
            return np.array([self.silence], np.int32), np.array([len(frames)], np.int32)
        durations = np.diff([*token_bounds(named)[:-1], len(frames)]).astype(np.int32)
        return np.array([token.token for token in named], np.int32), durations

    def assign(self, features: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """The unit (T,) of every frame (T, D).

        Raises:
            UserError: see `tokens`.
        """
        units, durations = self.tokens(np.asarray(features, np.float32))
        return np.repeat(units, durations)

    def save(self, folder: Path | str) -> None:
        """Write the codebook, then ``quantizer.json``."""
        folder = Path(folder)
        self.codebook.save(folder / CODEBOOK_FOLDER)
        write_json(folder / SPEC_FILE, self.spec)

    @classmethod
    def load(cls, folder: Path | str) -> SyllableQuantizer:
        """Read what `save` wrote.

        Raises:
            UserError: if a file is missing or damaged, or they do not belong together.
        """
        folder = Path(folder)
        spec = read_spec(folder / SPEC_FILE, SyllableSpec)
        made = cls(
            Codebook.load(folder / CODEBOOK_FOLDER),
            spec.segmenter,
            spec.settings,
            origin=spec.origin,
            longest_gap=spec.longest_gap,
        )
        if made.spec != spec:
            raise UserError(
                f"{folder}: {SPEC_FILE} is of another codebook than {CODEBOOK_FOLDER} holds; save both again"
            )
        return made
