"""The gradient of the filters of a depthwise convolution over rows of channels."""

from __future__ import annotations

from speechkit.io.arrays import Float
from speechkit.runtime.compiled import compiled_reordering

BLOCK = 128
"""Frames whose rows are read again for every tap while they are near."""


@compiled_reordering
def add_products(frames: Float, gradient: Float, sums: Float, begin: int, end: int) -> None:
    """Add what channels ``begin`` to ``end`` of (B, T, C) frames and gradients of the output give to sums (K, C)."""
    items, length = frames.shape[0], frames.shape[1]
    taps = sums.shape[0]
    half = taps // 2
    for item in range(items):
        for block in range(0, length, BLOCK):
            for tap in range(taps):
                row = sums[tap, begin:end]
                for frame in range(max(block, half - tap), min(block + BLOCK, length, length + half - tap)):
                    given = frames[item, frame + tap - half, begin:end]
                    above = gradient[item, frame, begin:end]
                    for channel in range(end - begin):
                        row[channel] += given[channel] * above[channel]
