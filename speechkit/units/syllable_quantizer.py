"""Syllable tokens: speech segments quantized by the unit of their mean frame, and a unit for silence.

Source: Cho et al. 2024, Sylber, appendix A.2.3 (k-means of segment means; long gaps are silence tokens).

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
"""Longest gap between segments without a silence token, in frames, as published."""


class SyllableSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="syllables", tag_field="kind"):
    """Identity of a syllable quantizer, for compatibility checks.

    Attributes:
        encoder: encoder of the frames.
        clusters: number of units, including silence as the last one.
        codebook: digest of the codebook.
        segmenter: ``envelope``, for waveforms, or a name of `make_segmenter`, for frames.
        settings: of the segmenter.
        origin: (D,), subtracted from frames before segmentation, see `Thresholds.centred`; segment means are of the
            original frames.
        longest_gap: in frames; longer gaps between segments are silence tokens, shorter ones extend the previous
            segment.
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
        """Digest of everything that determines the units."""
        return digest_obj([self.codebook, self.segmenter, self.settings, self.origin, self.longest_gap])


class SyllableQuantizer:
    """Quantizes segments instead of frames.

    Args:
        codebook: of segment means.
        segmenter: see `SyllableSpec`.
        settings: of the segmenter.
        origin: see `SyllableSpec`.
        longest_gap: frames.

    Raises:
        UserError: if the codebook does not record its encoder, or the frame rate does not suit segmenters.
        ConfigError: if the segmenter or a setting is unknown.
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
            raise UserError("the codebook of segments does not record its encoder; train it again")
        encoder.require_rates("syllable tokens", 1 / HOP_SECONDS)
        if origin is not None and len(origin) != encoder.dim:
            raise UserError(
                f"the origin has {len(origin)} values, frames of {encoder.model} {encoder.dim}; estimate it again"
            )
        self.codebook = codebook
        chosen = dict(settings or {})
        self._envelope = EnvelopeSegmenter(**chosen) if segmenter == "envelope" else None
        self._frames = None if segmenter == "envelope" else make_segmenter(segmenter, **chosen)
        self._origin = None if origin is None else np.asarray(origin, np.float32)
        clusters = codebook.spec.clusters + 1
        self.spec = SyllableSpec(encoder, clusters, codebook.spec.digest, segmenter, chosen, origin, longest_gap)

    @property
    def silence(self) -> int:
        """Index of the silence unit."""
        return self.spec.clusters - 1

    def check(self, encoder: EncoderSpec, what: str = "the quantizer") -> None:
        """Reject features of another encoder or layer.

        Raises:
            UserError: naming both and the first field that differs.
        """
        self.spec.encoder.require(encoder, what)

    def collect_powers(self, blocks: Iterable[Float], powers: list[NDArray[np.float64]]) -> Iterator[Float]:
        """Pass the blocks of a waveform through, and append the powers for the envelope segmenter to ``powers``."""
        return iter(blocks) if self._envelope is None else power_tee(blocks, powers)

    def boundaries(self, frames: Float, powers: list[NDArray[np.float64]]) -> Boundaries:
        """Segments (n, 2) of the frames (T, D) of a recording; ``powers`` are from `collect_powers`."""
        if self._frames is not None:
            return self._frames.segment(frames if self._origin is None else frames - self._origin)
        assert self._envelope is not None
        spans = np.minimum(self._envelope.segment_powers(np.concatenate([np.zeros(0), *powers])), len(frames))
        return spans[spans[:, 0] < spans[:, 1]]

    def tokens(
        self, frames: Float, powers: list[NDArray[np.float64]] | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Units (N,) and durations (N,) in frames, covering all T frames; equal units may be adjacent.

        Args:
            frames: (T, D).
            powers: from `collect_powers`; required by the envelope segmenter.

        Raises:
            UserError: if the envelope segmenter has no powers, or frames are not finite.
        """
        if self._envelope is not None and powers is None:
            raise UserError(
                "these syllable tokens are segmented from the amplitude envelope, which stored features lack; use "
                "speechkit units encode"
            )
        if not len(frames):
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        spans = self.boundaries(frames, powers or [])
        labels = self.codebook.assign(segment_means(frames, spans)) if len(spans) else np.zeros(0, np.int32)
        tokens = add_silence_tokens(labels, spans, len(frames), self.silence, self.spec.longest_gap)
        if not tokens:
            return np.array([self.silence], np.int32), np.array([len(frames)], np.int32)
        durations = np.diff([*token_bounds(tokens)[:-1], len(frames)]).astype(np.int32)
        return np.array([token.token for token in tokens], np.int32), durations

    def assign(self, features: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """Frame-level units (T,) of frames (T, D).

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
            UserError: if a file is missing or damaged, or they do not match.
        """
        folder = Path(folder)
        spec = read_spec(folder / SPEC_FILE, SyllableSpec)
        quantizer = cls(
            Codebook.load(folder / CODEBOOK_FOLDER),
            spec.segmenter,
            spec.settings,
            origin=spec.origin,
            longest_gap=spec.longest_gap,
        )
        if quantizer.spec != spec:
            raise UserError(f"{folder}: {SPEC_FILE} does not match the codebook in {CODEBOOK_FOLDER}; copy both again")
        return quantizer
