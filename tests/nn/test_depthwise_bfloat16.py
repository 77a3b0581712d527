"""Depthwise convolutions of few channels in bfloat16, which oneDNN alone never finishes."""

from __future__ import annotations

import pytest
import torch

from speechkit.nn.depthwise import depthwise


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("channels", "taps"), [(8, 19), (16, 17), (40, 17)])
def test_few_channels_come_back_in_bfloat16(channels, taps):
    frames, weight = torch.randn(2, 64, channels), torch.randn(channels, taps) / taps
    expected = depthwise(frames, weight)
    torch.testing.assert_close(depthwise(frames.bfloat16(), weight).float(), expected, atol=0.05, rtol=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(depthwise(frames, weight).float(), expected, atol=0.05, rtol=0.05)
