"""Segmentation of recordings of any length, by blocks of the waveform and of its frames."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.data.audio import WAVEFORM_RATE, cut_blocks, read_waveform
from speechkit.data.manifest import audio_path
from speechkit.data.recordings import read_cuts
from speechkit.data.records import AlignmentItem, Utterance
from speechkit.errors import AudioError, UserError
from speechkit.io.arrays import Float
from speechkit.syllables.envelope import EnvelopeSegmenter, frame_levels
from speechkit.syllables.greedy import GreedySegmenter, segment_stream
from speechkit.syllables.segments import HOP_SECONDS, Boundaries, Segmenter, not_finite_error
from speechkit.syllables.thresholds import Thresholds, estimate_thresholds

if TYPE_CHECKING:
    from speechkit.encoders.encoder import Encoder

TIER = "syllable"
UNNAMED = "syl"
"""Symbol of a segment without a unit."""
BLOCK_SECONDS = 30
SAMPLE_SECONDS = 1200


def waveform_blocks(row: Utterance, manifest: Path) -> Iterator[Float]:
    """Samples of a cut at 16 kHz, in blocks of 30 s."""
    return cut_blocks(audio_path(manifest, row), row, sample_rate=WAVEFORM_RATE, seconds=BLOCK_SECONDS)


def frame_blocks(encoder: Encoder, row: Utterance, manifest: Path) -> Iterator[Float]:
    """Frames of a cut: at once if it is short, else by windows with context.

    Raises:
        UserError: if the encoder's sample or frame rate does not suit segmenters.
    """
    encoder.spec.require_rates("segmenters", 1 / HOP_SECONDS)
    if row.duration <= BLOCK_SECONDS:
        for waveform in waveform_blocks(row, manifest):
            yield encoder.encode(waveform)
    else:
        yield from encoder.stream(waveform_blocks(row, manifest))


def segment_row(
    encoder: Encoder, segmenter: Segmenter, row: Utterance, manifest: Path, thresholds: Thresholds | None = None
) -> Boundaries:
    """Segments (n, 2) of a cut, in frames.

    The greedy segmenter streams, in constant memory; the others need all frames, kept in a temporary file.

    Raises:
        AudioError: if the audio cannot be read.
        UserError: if frames are not finite.
    """
    blocks = frame_blocks(encoder, row, manifest)
    if thresholds is not None:
        blocks = (np.asarray(thresholds.centred(block), np.float32) for block in blocks)
    none = np.empty((0, 2), np.int64)
    if isinstance(segmenter, GreedySegmenter):
        return np.concatenate([none, *segment_stream(segmenter, blocks)])
    with tempfile.TemporaryFile() as file:
        for block in blocks:
            file.write(np.ascontiguousarray(block, np.float32).tobytes())
        size = file.tell()
        if not size:
            return none
        file.flush()
        return segmenter.segment(
            np.memmap(file, np.float32, "r", shape=(size // 4 // encoder.spec.dim, encoder.spec.dim))
        )


def segment_envelope(segmenter: EnvelopeSegmenter, row: Utterance, manifest: Path) -> Boundaries:
    """Segments (n, 2) of a cut from its amplitude envelope, in frames."""
    return segmenter.segment_blocks(waveform_blocks(row, manifest))


def add_tier(row: Utterance, boundaries: Boundaries, symbols: Iterable[str] | None = None) -> Utterance:
    """The cut with its segments as the tier ``syllable``, in seconds from the cut's start."""
    names = [UNNAMED] * len(boundaries) if symbols is None else list(symbols)
    items = []
    for (start, end), name in zip(boundaries.tolist(), names, strict=True):
        begin, stop = round(start * HOP_SECONDS, 6), round(end * HOP_SECONDS, 6)
        items.append(AlignmentItem(name, begin, round(stop - begin, 6)))
    return msgspec.structs.replace(row, alignment={**(row.alignment or {}), TIER: items})


def read_tier(row: Utterance, path: Path, tier: str = TIER) -> tuple[NDArray[np.float64], list[str]]:
    """Segments (n, 2) in seconds, and symbols, of a tier.

    Raises:
        UserError: if the row has no such tier.
    """
    tiers = row.alignment or {}
    if tier not in tiers:
        names = ", ".join(sorted(tiers)) or "none"
        raise UserError(
            f"{path}: {row.id} has no tier {tier!r} in its alignment (tiers: {names}); choose one with --tier"
        )
    items = [item for item in tiers[tier] if item.duration > 0]
    times = np.array([[item.start, item.start + item.duration] for item in items], np.float64).reshape(-1, 2)
    return times, [item.symbol for item in items]


def thresholds_from_recordings(encoder: Encoder, inputs: list[Path], rate: float | None = None) -> Thresholds:
    """Estimate thresholds from about 20 minutes of the recordings, in evenly spaced pieces.

    Args:
        encoder: encoder of the frames to segment.
        inputs: manifests and recordings.
        rate: see `estimate_thresholds`.

    Raises:
        UserError: if there is too little speech, a manifest cannot be read, or no recording can be encoded.
    """
    encoder.spec.require_rates("segmenters", 1 / HOP_SECONDS)
    faults: list[UserError] = []

    def pieces() -> Iterator[tuple[Utterance, Path, int]]:
        for row, manifest in read_cuts(inputs, lambda path, error: faults.append(error)):
            for begin in range(0, row.num_samples, BLOCK_SECONDS * row.sample_rate):
                yield row, manifest, begin

    total = sum(min(BLOCK_SECONDS, (row.num_samples - begin) / row.sample_rate) for row, _, begin in pieces())
    step = max(1, -(-int(total) // SAMPLE_SECONDS))
    features: list[NDArray[Any]] = []
    loudness: list[NDArray[np.float64]] = []
    for number, (row, manifest, begin) in enumerate(pieces()):
        if number % step:
            continue
        try:
            waveform = read_waveform(row, manifest, begin=begin, num_samples=BLOCK_SECONDS * row.sample_rate)
        except AudioError as error:
            faults.append(error)
            continue
        frames = encoder.encode(waveform)
        if not np.isfinite(frames).all():
            faults.append(not_finite_error(int(np.argmin(np.isfinite(frames).all(axis=1))), row.id))
            continue
        features.append(frames)
        loudness.append(frame_levels(waveform)[: len(frames)])
    if not features and faults:
        raise faults[0]
    return estimate_thresholds(features, encoder.spec, loudness=loudness, rate=rate)
