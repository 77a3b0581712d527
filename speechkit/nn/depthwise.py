"""Depthwise convolutions over frames in channels-last layout.

PyTorch's `conv1d` has no fast depthwise kernel on a CPU. `conv2d` over an image of height 1 in channels-last layout has
one, forward and for the input gradient: 15 to 30 times as fast, at 256 channels and a kernel of 17 or 39. It does not
support dilation, but frames of different phase modulo the dilation never interact, so phases become channels. The
weight gradient has a compiled kernel in the same layout.

Notation used for tensor shapes: B items, T frames, C channels, K kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

MIN_CHANNELS = 32
"""Below it, oneDNN 3 hangs in this convolution in bfloat16 (16 channels by 17 taps, AVX-512)."""


class DepthwiseConv(nn.Module):
    """Depthwise convolution without bias, zero-padded to the same length.

    Args:
        channels: C.
        kernel: K, odd.
        dilation: distance between taps, in frames.
    """

    def __init__(self, channels: int, kernel: int, dilation: int = 1):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel is {kernel}; give an odd number")
        self.dilation = dilation
        self.weight = nn.Parameter(torch.empty(channels, kernel))
        nn.init.uniform_(self.weight, -(kernel**-0.5), kernel**-0.5)  # as nn.Conv1d

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return depthwise(frames, self.weight, self.dilation)


def depthwise(frames: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """(B, T, C) frames by filters (C, K), padded with zeros to the same length: (B, T, C)."""
    weight = weight.to(frames.dtype)
    length = frames.shape[1]
    if frames.device.type != "cpu":
        pad = weight.shape[1] // 2 * dilation
        output = F.conv1d(frames.mT, weight[:, None], padding=pad, dilation=dilation, groups=len(weight))
        return output.mT
    if len(weight) < MIN_CHANNELS and (frames.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")):
        with torch.autocast("cpu", enabled=False):
            return depthwise(frames.float(), weight.float(), dilation).to(frames.dtype)
    if dilation > 1:
        frames = F.pad(frames, (0, 0, 0, -length % dilation))
        frames = frames.reshape(len(frames), -1, dilation * len(weight))
        weight = weight.repeat(dilation, 1)
    apply: Callable[[Tensor, Tensor], Tensor] = _Depthwise.apply
    output = apply(frames, weight)
    return output.view(len(output), -1, len(weight) // dilation)[:, :length] if dilation > 1 else output


class _Depthwise(torch.autograd.Function):
    """(B, T, C) frames by filters (C, K) on a CPU."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(frames, weight)
        return _convolve(frames, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        frames, weight = ctx.saved_tensors
        frames_gradient = weight_gradient = None
        if ctx.needs_input_grad[0]:
            frames_gradient = _convolve(gradient, weight.flip(1))
        if ctx.needs_input_grad[1]:
            weight_gradient = _weight_gradient(frames, gradient, weight.shape[1]).to(weight.dtype)
        return frames_gradient, weight_gradient


def _convolve(frames: Tensor, weight: Tensor) -> Tensor:
    image = frames.contiguous().mT[:, :, None]  # (B, C, 1, T) in memory as (B, 1, T, C)
    half = weight.shape[1] // 2
    output = F.conv2d(image, weight[:, None, None], padding=(0, half), groups=len(weight))  # (B, C, 1, T)
    return output[:, :, 0].mT.contiguous()


def _weight_gradient(frames: Tensor, gradient: Tensor, taps: int) -> Tensor:
    """Weight gradient (C, K), with torch's number of threads over blocks of channels."""
    from speechkit.nn.depthwise_kernel import add_products

    inputs = frames.detach().float().contiguous().numpy()
    output_gradient = gradient.detach().float().contiguous().numpy()
    channels = inputs.shape[2]
    sums = np.zeros((taps, channels), np.float32)
    threads = torch.get_num_threads()
    step = max(128, -(-channels // threads))
    starts = range(0, channels, step)
    if len(starts) == 1:
        add_products(inputs, output_gradient, sums, 0, channels)
    else:
        with ThreadPoolExecutor(len(starts)) as pool:
            list(
                pool.map(
                    lambda start: add_products(inputs, output_gradient, sums, start, min(start + step, channels)),
                    starts,
                )
            )
    return torch.from_numpy(sums.T.copy())
