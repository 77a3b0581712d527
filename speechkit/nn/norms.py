"""Norms over rows, channels and whole items of a padded batch, in few passes over memory.

Frames behind an item's end count for nothing. Statistics are float32 at every precision; what comes out has the
precision of what goes in. Each has its gradient written out: autograd's is several times as many passes.

Notation used for tensor shapes: B items, T frames, C channels; ``valid`` (B, T, 1) is 1 at real frames, 0 behind them,
None where all are real.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def scale_norm(x: Tensor) -> Tensor:
    """Rows (…, C) divided by their root mean square, or by 1e-5 where that is smaller."""
    apply: Callable[[Tensor], Tensor] = _ScaleNorm.apply
    return apply(x)


def channel_norm(
    x: Tensor, weight: Tensor, bias: Tensor, slope: Tensor, valid: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """(B, T, C) with mean 0 and variance 1 over the frames of each channel, an affine map, and a leaky ReLU.

    Args:
        x: (B, T, C), zero where ``valid`` is.
        weight: (C,) gain of a channel.
        bias: (C,) added to it.
        slope: (C,) of what is below zero then.
        valid: see the module; what comes out is zero where it is.
        eps: added to the variance.
    """
    apply: Callable[..., Tensor] = _ChannelNorm.apply
    return apply(x, weight, bias, slope, valid, eps)


def item_norm(x: Tensor, weight: Tensor, bias: Tensor, valid: Tensor | None = None, eps: float = 1e-8) -> Tensor:
    """(B, T, C) float32 with mean 0 and variance 1 over all frames and channels of an item, and a gain a channel."""
    if valid is None:
        variance, mean = torch.var_mean(x, (1, 2), correction=0, keepdim=True)
    else:
        number = valid.sum(1, keepdim=True) * x.shape[2]  # (B, 1, 1)
        mean = (x * valid).sum((1, 2), keepdim=True) / number
        variance = ((x - mean).square() * valid).sum((1, 2), keepdim=True) / number
    scale = (variance + eps).rsqrt() * weight
    normed: Tensor = torch.addcmul(bias - mean * scale, x, scale)
    return normed


class _ScaleNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = (length * x.shape[-1] ** -0.5).clamp_min(1e-5).reciprocal().to(x.dtype)
        out: Tensor = x * inverse
        ctx.save_for_backward(out, inverse)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        out, inverse = ctx.saved_tensors
        # Rows at the floor are divided by a constant.
        along = (gradient * out).mean(-1, keepdim=True).masked_fill_(inverse >= 1e5, 0.0)
        of_x: Tensor = torch.addcmul(gradient, out, along, value=-1.0).mul_(inverse)
        return of_x


class _ChannelNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, slope: Tensor, valid: Tensor | None, eps: float
    ) -> Tensor:
        number = x.shape[1] if valid is None else valid.sum(1, keepdim=True)  # (B, 1, 1)
        sums = x.sum(1, keepdim=True, dtype=torch.float32)  # (B, 1, C)
        mean = sums / number
        centred = x - mean.to(x.dtype)
        if valid is not None:
            centred *= valid.to(x.dtype)
        squares = torch.linalg.vector_norm(centred, dim=1, keepdim=True, dtype=torch.float32).square()
        inverse = (squares / number + eps).rsqrt()
        out = torch.addcmul(bias.to(x.dtype), centred, (inverse * weight).to(x.dtype))
        out = torch.where(out > 0, out, out * slope.to(x.dtype))
        if valid is not None:
            out *= valid.to(x.dtype)
        ctx.save_for_backward(centred, inverse, weight, bias, slope, valid)
        ctx.number = number
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        centred, inverse, weight, bias, slope, valid = ctx.saved_tensors
        kind = centred.dtype
        normed = centred * inverse.to(kind)  # (B, T, C)
        before = torch.addcmul(bias.to(kind), normed, weight.to(kind))
        if valid is not None:
            gradient = gradient * valid.to(kind)
        below = before <= 0
        of_slope = (gradient * before).masked_fill_(~below, 0.0).sum((0, 1), dtype=torch.float32)
        gradient = torch.where(below, gradient * slope.to(kind), gradient)
        sums = gradient.sum(1, keepdim=True, dtype=torch.float32)  # (B, 1, C)
        along = (gradient * normed).sum(1, keepdim=True, dtype=torch.float32)
        of_x = gradient - (sums / ctx.number).to(kind)
        of_x.addcmul_(normed, (along / ctx.number).to(kind), value=-1.0).mul_((inverse * weight).to(kind))
        if valid is not None:
            of_x *= valid.to(kind)
        return of_x, along.sum((0, 1)), sums.sum((0, 1)), of_slope, None, None
