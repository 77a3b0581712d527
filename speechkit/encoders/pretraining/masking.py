"""Span masks and negatives of self-supervised training. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def span_masks(
    frames: Sequence[int], start_share: float, span: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw masked spans of frames in each item; spans may overlap.

    Source: Baevski et al. 2020, section 3.1: a share of all frames begins a span, drawn without replacement.

    Args:
        frames: number of frames of each of B items.
        start_share: 0.065 in the paper, which masks about half of the frames with spans of 10.
        span: frames of a span.
        generator: of all randomness.

    Returns:
        (B, longest), true where a frame is masked. Every item of at least two frames has both a masked and an unmasked
        frame, so that there is something to predict and something to predict it from.
    """
    mask = np.zeros((len(frames), max(frames)), bool)
    for row, count in enumerate(frames):
        width = min(span, max(1, count // 2))
        starts = max(1, int(start_share * count + generator.random()))
        if count < 2:
            continue
        for begin in generator.choice(count - width + 1, size=min(starts, count - width + 1), replace=False):
            mask[row, begin : begin + width] = True
        if mask[row, :count].all():
            mask[row, int(generator.integers(count))] = False
    return mask


def negatives(mask: NDArray[np.bool_], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw for every masked frame other masked frames of its item, as negatives of the contrastive loss.

    Source: Baevski et al. 2020, equation 3.

    Returns:
        (B, T, count) indices into the B * T flattened frames; for frames that are not masked, and items with a single
        masked frame, the frame itself.
    """
    batch, frames = mask.shape
    chosen = np.repeat(np.arange(batch * frames).reshape(batch, frames, 1), count, axis=2)
    for row in range(batch):
        masked = np.flatnonzero(mask[row])
        if len(masked) < 2:
            continue
        drawn = generator.integers(len(masked) - 1, size=(len(masked), count))
        drawn += drawn >= np.arange(len(masked))[:, None]  # never the frame itself
        chosen[row, masked] = masked[drawn] + row * frames
    return chosen
