"""Normalisation over rows, channels and items of a padded batch, with few passes over memory.

Padding is excluded. Statistics are float32 in every precision; the output has the precision of the input. Gradients are
implemented explicitly, with a fraction of autograd's passes.

Notation used for tensor shapes: B items, T frames, C channels; ``valid`` (B, T, 1) is 1 for frames and 0 for padding,
None without padding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def scale_norm(x: Tensor) -> Tensor:
    """Rows (…, C) divided by their root mean square, at least 1e-5."""
    apply: Callable[[Tensor], Tensor] = _ScaleNorm.apply
    return apply(x)


def channel_norm(x: Tensor, weight: Tensor, bias: Tensor, valid: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Normalise (B, T, C) over the frames of each channel of an item, with gain and bias (instance norm).

    Args:
        x: (B, T, C)
        weight: gain (C,).
        bias: (C,).
        valid: see the module; the output is zero for padding.
        eps: added to the variance.
    """
    apply: Callable[..., Tensor] = _Norm.apply
    return apply(x, weight, bias, valid, eps, (1,))


def item_norm(x: Tensor, weight: Tensor, bias: Tensor, valid: Tensor | None = None, eps: float = 1e-8) -> Tensor:
    """Normalise (B, T, C) over all frames and channels of an item; see `channel_norm`."""
    apply: Callable[..., Tensor] = _Norm.apply
    return apply(x, weight, bias, valid, eps, (1, 2))


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
        # For rows at the floor the divisor is constant.
        along = (gradient * out).mean(-1, keepdim=True).mul_((inverse < 1e5).to(out.dtype))
        of_x: Tensor = torch.addcmul(gradient, out, along, value=-1.0).mul_(inverse)
        return of_x


class _Norm(torch.autograd.Function):
    """Normalisation over the dimensions ``over`` of (B, T, C)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, valid: Tensor | None, eps: float, over: tuple[int, ...]
    ) -> Tensor:
        number = x.shape[1] if valid is None else valid.sum(1, keepdim=True)  # (B, 1, 1)
        number = number * x.shape[2] if 2 in over else number
        kept = x if valid is None else x * valid.to(x.dtype)
        mean = kept.sum(over, keepdim=True, dtype=torch.float32) / number
        centred = kept - mean.to(x.dtype)
        if valid is not None:
            centred *= valid.to(x.dtype)
        inverse = ((centred * centred).sum(over, keepdim=True, dtype=torch.float32) / number + eps).rsqrt()
        out = torch.addcmul(bias.to(x.dtype), centred, (inverse * weight).to(x.dtype))
        if valid is not None:
            out *= valid.to(x.dtype)
        ctx.save_for_backward(centred, inverse, weight, valid)
        ctx.number, ctx.over = number, over
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        centred, inverse, weight, valid = ctx.saved_tensors
        kind = centred.dtype
        if valid is not None:
            gradient = gradient * valid.to(kind)
        normed = centred * inverse.to(kind)  # (B, T, C)
        sums = gradient.sum(1, keepdim=True, dtype=torch.float32)  # (B, 1, C)
        along = (gradient * normed).sum(1, keepdim=True, dtype=torch.float32)
        level, slope = sums * weight, along * weight
        if 2 in ctx.over:
            level, slope = level.sum(2, keepdim=True), slope.sum(2, keepdim=True)
        of_x = torch.addcmul((-level / ctx.number).to(kind), gradient, weight.to(kind))
        of_x.addcmul_(normed, (slope / ctx.number).to(kind), value=-1.0).mul_(inverse.to(kind))
        if valid is not None:
            of_x *= valid.to(kind)
        return of_x, along.sum((0, 1)), sums.sum((0, 1)), None, None, None
