"""Samples and frames of padded batches, in one place."""

from __future__ import annotations

from torch import Tensor

from speechkit.encoders.spec import HOP_SAMPLES
from speechkit.nn.masks import length_mask

EDGE = 40
"""Samples before and behind a waveform, so that the convolutions give exactly samples // 320 frames."""

__all__ = ["EDGE", "HOP_SAMPLES", "frame_mask", "sample_mask"]


def sample_mask(lengths: Tensor) -> Tensor:
    """(B,) samples to (B, longest + 2 EDGE), 1 where the padded waveform is real: what transformers takes."""
    total = lengths + 2 * EDGE
    return length_mask(total, int(total.max())).long()


def frame_mask(lengths: Tensor) -> Tensor:
    """(B,) samples to (B, longest // 320), true where a frame is real."""
    return length_mask(lengths // HOP_SAMPLES, int(lengths.max()) // HOP_SAMPLES)
