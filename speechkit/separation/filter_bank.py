"""Frames of a waveform that overlap by half, back to a waveform.

Notation used for tensor shapes: B items, T frames, N speakers, K samples of a frame.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor


def synthesised(frames: Tensor) -> Tensor:
    """(B, T, N, K) frames, K / 2 samples apart, added up to (B, N, (T + 1) * K / 2)."""
    first, second = frames.transpose(1, 2).chunk(2, -1)  # (B, N, T, K / 2) each
    return (F.pad(first, (0, 0, 0, 1)) + F.pad(second, (0, 0, 1, 0))).flatten(2)
