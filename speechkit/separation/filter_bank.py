"""Overlap-add of frames that overlap by half.

Notation used for tensor shapes: B items, T frames, N speakers, K samples of a frame.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor


def overlap_add(frames: Tensor) -> Tensor:
    """Frames (B, T, N, K) with a hop of K / 2 -> waveforms (B, N, (T + 1) * K / 2)."""
    first, second = frames.transpose(1, 2).chunk(2, -1)  # (B, N, T, K / 2) each
    return (F.pad(first, (0, 0, 0, 1)) + F.pad(second, (0, 0, 1, 0))).flatten(2)
