"""Frame labels from an alignment in seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from speechkit.data.records import AlignmentItem, Utterance
from speechkit.errors import UserError


def frame_labels(items: Iterable[AlignmentItem], frames: int, frames_per_second: float = 50.0) -> list[str | None]:
    """Label at the centre of each frame (T,), None for unlabelled frames."""
    labels: list[str | None] = [None] * frames
    for item in items:
        first = max(0, round(item.start * frames_per_second))
        for frame in range(first, min(frames, round((item.start + item.duration) * frames_per_second))):
            labels[frame] = item.symbol
    return labels


def aligned_labels(
    rows: Iterable[Utterance],
    tier: str,
    frames: Mapping[str, int],
    source: Path | str,
    frames_per_second: float = 50.0,
) -> dict[str, list[str | None]]:
    """Frame labels of every recording with units and the tier.

    Args:
        rows: utterances with alignments.
        tier: of the alignments.
        frames: number of frames of each recording, by id.
        source: of the rows, for errors.
        frames_per_second: of the encoder.

    Raises:
        UserError: if no recording has both.
    """
    labels = {
        row.id: frame_labels(row.alignment[tier], frames[row.id], frames_per_second)
        for row in rows
        if row.id in frames and row.alignment and tier in row.alignment
    }
    if not labels:
        raise UserError(
            f"{source}: no recording with units has a tier {tier}; give an alignment of the same recordings"
        )
    return labels
