"""PReLU (leaky ReLU with learned slopes) with an efficient gradient on a CPU.

PyTorch materialises a slope gradient per element, and sums it in a single thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """PReLU of (…, C) with slopes (C,) or (1,) for negative values: (…, C)."""
    apply: Callable[[Tensor, Tensor], Tensor] = _Prelu.apply
    return apply(x, slope)


class _Prelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        below = x.clamp(max=0)
        return x.relu().addcmul_(below, slope.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        above = (x > 0).to(x.dtype)
        factor = torch.addcmul(slope.to(x.dtype), above, (1 - slope).to(x.dtype))
        dims = tuple(range(x.ndim - 1))
        slope_gradient = (gradient * x.clamp(max=0)).sum(dims, dtype=torch.float32)
        return factor.mul_(gradient), slope_gradient.sum(0, keepdim=True) if len(slope) == 1 else slope_gradient
