"""Depthwise convolutions over frames, a frame a row.

PyTorch's `conv1d` has no fast depthwise kernel on a processor. The same convolution over an image one row high whose
channels lie side by side has one, forward and for the input's gradient: 15 to 30 times as fast, at 256 channels and a
kernel of 17 or 39. Dilation has none there, but frames that lie ``dilation`` apart never meet: each such sequence is a
set of channels of its own. The weights' gradient has a compiled kernel, which reads rows as they lie.

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

FEWEST_CHANNELS = 32
"""Below, oneDNN 3 never comes back from this convolution in bfloat16 (16 channels by 17 taps, AVX-512)."""


class DepthwiseConv(nn.Module):
    """Every channel by a filter of its own, without a bias; as many frames come out, with zeros around the item.

    Args:
        channels: C.
        kernel: K, odd.
        dilation: frames from one tap to the next.
    """

    def __init__(self, channels: int, kernel: int, dilation: int = 1):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"a kernel of {kernel} has no middle; make it odd")
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
        made = F.conv1d(frames.mT, weight[:, None], padding=pad, dilation=dilation, groups=len(weight))
        return made.mT
    if len(weight) < FEWEST_CHANNELS and (frames.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")):
        with torch.autocast("cpu", enabled=False):
            return depthwise(frames.float(), weight.float(), dilation).to(frames.dtype)
    if dilation > 1:
        frames = F.pad(frames, (0, 0, 0, -length % dilation))
        frames = frames.reshape(len(frames), -1, dilation * len(weight))
        weight = weight.repeat(dilation, 1)
    apply: Callable[[Tensor, Tensor], Tensor] = _Depthwise.apply
    made = apply(frames, weight)
    return made.view(len(made), -1, len(weight) // dilation)[:, :length] if dilation > 1 else made


class _Depthwise(torch.autograd.Function):
    """(B, T, C) frames by filters (C, K) on a processor."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(frames, weight)
        return _by_row(frames, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        frames, weight = ctx.saved_tensors
        of_frames = of_weight = None
        if ctx.needs_input_grad[0]:
            of_frames = _by_row(gradient, weight.flip(1))
        if ctx.needs_input_grad[1]:
            of_weight = _of_weight(frames, gradient, weight.shape[1]).to(weight.dtype)
        return of_frames, of_weight


def _by_row(frames: Tensor, weight: Tensor) -> Tensor:
    image = frames.contiguous().mT[:, :, None]  # (B, C, 1, T) in memory as (B, 1, T, C)
    half = weight.shape[1] // 2
    made = F.conv2d(image, weight[:, None, None], padding=(0, half), groups=len(weight))  # (B, C, 1, T)
    return made[:, :, 0].mT.contiguous()


def _of_weight(frames: Tensor, gradient: Tensor, taps: int) -> Tensor:
    """(C, K), summed by as many threads as torch has, each over channels of its own."""
    from speechkit.nn.depthwise_kernel import add_products

    given = frames.detach().float().contiguous().numpy()
    above = gradient.detach().float().contiguous().numpy()
    channels = given.shape[2]
    sums = np.zeros((taps, channels), np.float32)
    threads = torch.get_num_threads()
    step = max(128, -(-channels // threads))
    starts = range(0, channels, step)
    if len(starts) == 1:
        add_products(given, above, sums, 0, channels)
    else:
        with ThreadPoolExecutor(len(starts)) as pool:
            list(pool.map(lambda at: add_products(given, above, sums, at, min(at + step, channels)), starts))
    return torch.from_numpy(sums.T.copy())
