"""The label of each frame, from an alignment in seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from speechkit.data.records import AlignmentItem, Utterance
from speechkit.errors import UserError


def frame_labels(items: Iterable[AlignmentItem], frames: int, frames_per_second: float = 50.0) -> list[str | None]:
    """Label at the centre of each frame (T,), None where there is none."""
    labels: list[str | None] = [None] * frames
    for item in items:
        first = max(0, round(item.start * frames_per_second))
        for place in range(first, min(frames, round((item.start + item.duration) * frames_per_second))):
            labels[place] = item.symbol
    return labels


def aligned_labels(
    rows: Iterable[Utterance],
    tier: str,
    frames: Mapping[str, int],
    source: Path | str,
    frames_per_second: float = 50.0,
) -> dict[str, list[str | None]]:
    """The labels of the frames of every recording that has units and the tier.

    Args:
        rows: with alignments.
        tier: of the alignments.
        frames: how many frames each recording has, by id.
        source: of the rows, to be named in errors.
        frames_per_second: of the encoder.

    Raises:
        UserError: if no recording has both.
    """
    found = {
        row.id: frame_labels(row.alignment[tier], frames[row.id], frames_per_second)
        for row in rows
        if row.id in frames and row.alignment and tier in row.alignment
    }
    if not found:
        raise UserError(
            f"{source}: no recording with units has a tier {tier}; give an alignment of the same recordings"
        )
    return found
