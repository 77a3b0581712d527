"""Weight gradient of a depthwise convolution in channels-last layout."""

from __future__ import annotations

from speechkit.io.arrays import Float
from speechkit.runtime.compiled import compiled_reordering

BLOCK = 128
"""Frames per block, whose rows stay in the cache over all taps."""


@compiled_reordering
def add_products(frames: Float, gradient: Float, sums: Float, begin: int, end: int) -> None:
    """Add the weight gradient of channels ``begin`` to ``end`` to sums (K, C); frames and output gradient (B, T, C)."""
    items, length = frames.shape[0], frames.shape[1]
    taps = sums.shape[0]
    half = taps // 2
    for item in range(items):
        for block in range(0, length, BLOCK):
            for tap in range(taps):
                row = sums[tap, begin:end]
                for frame in range(max(block, half - tap), min(block + BLOCK, length, length + half - tap)):
                    inputs = frames[item, frame + tap - half, begin:end]
                    output_gradient = gradient[item, frame, begin:end]
                    for channel in range(end - begin):
                        row[channel] += inputs[channel] * output_gradient[channel]
