"""Gated attention without softmax: squared-ReLU attention inside groups of frames, linear attention over the item.

Time and memory are linear in length; quadratic matrices exist only inside groups.

Source: Hua et al. 2022, "Transformer Quality in Linear Time"; the gates are MossFormer's (Zhao and Ma 2023).

Notation used for tensor shapes: B items, T frames, H width of values, gates and output, Q width of queries and keys,
G frames of a group, P groups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor


def gated_group_attention(
    values: Tensor,
    queries: tuple[Tensor, Tensor],
    keys: tuple[Tensor, Tensor],
    group: int,
    frames: Tensor | int,
    dropout: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """U' * V * sigmoid(V' * U) of values V and gates U, where V' and U' are their attention outputs.

    Args:
        values: V and U concatenated, (B, T, 2 H).
        queries: local and global, (B, T, Q) each.
        keys: local and global, (B, T, Q) each, zero for padding.
        group: G; the local attention is divided by its square, also for shorter items.
        frames: T, or the lengths of items (B,), which divide the global attention.
        dropout: of the local attention weights.

    Returns:
        (B, T, H), undefined for padding.
    """
    length, own = values.shape[1], min(group, values.shape[1])
    pad = -length % own
    if pad:
        values, *heads = (F.pad(tensor, (0, 0, 0, pad)) for tensor in (values, *queries, *keys))
    else:
        heads = [*queries, *keys]
    number = frames if isinstance(frames, int) else frames.to(values.dtype)[:, None, None]
    kept = None
    if dropout is not None:
        kept = dropout(values.new_ones(len(values) * values.shape[1] // own, own, own))
    apply: Callable[..., Tensor] = _GatedGroupAttention.apply
    output = apply(values, *heads, own, group, number, kept)
    return output[:, :length] if pad else output


class _GatedGroupAttention(torch.autograd.Function):
    """Gated attention of complete groups; ``kept`` (B P, G, G) is the dropout mask of the weights."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        local_query: Tensor,
        global_query: Tensor,
        local_key: Tensor,
        global_key: Tensor,
        own: int,
        group: int,
        number: Tensor | int,
        kept: Tensor | None,
    ) -> Tensor:
        ctx.own, ctx.group, ctx.number = own, group, number
        scores = _scores(local_query, local_key, own, group)
        weights = scores.square() if kept is None else scores.square().mul_(kept)
        memory = (global_key / number).mT @ values  # (B, Q, 2 H)
        attended = global_query @ memory
        attended = torch.baddbmm(_grouped(attended, own), weights, _grouped(values, own)).view(values.shape)
        ctx.save_for_backward(values, local_query, global_query, local_key, global_key, kept, memory, attended)
        attended_value, attended_gate = attended.chunk(2, -1)
        value, gate = values.chunk(2, -1)
        return (attended_value * gate).sigmoid_().mul_(attended_gate).mul_(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, local_query, global_query, local_key, global_key, kept, memory, attended = ctx.saved_tensors
        own, group, number = ctx.own, ctx.group, ctx.number
        attended_value, attended_gate = attended.chunk(2, -1)
        value, gate = values.chunk(2, -1)
        of_attended, of_values = torch.empty_like(attended), torch.empty_like(values)
        of_attended_value, of_attended_gate = of_attended.chunk(2, -1)
        of_value, of_gate = of_values.chunk(2, -1)

        opened = (attended_value * gate).sigmoid_()
        through = gradient * opened
        torch.mul(through, value, out=of_attended_gate)
        torch.mul(through, attended_gate, out=of_value)
        # Gradient of the sigmoid's argument: that of its output times sigmoid * (1 - sigmoid).
        inside = through.mul_(attended_gate).mul_(value).mul_(opened.neg_().add_(1.0))
        torch.mul(inside, gate, out=of_attended_value)
        torch.mul(inside, attended_value, out=of_gate)

        scores = _scores(local_query, local_key, own, group)
        weights = scores.square() if kept is None else scores.square().mul_(kept)
        far, near = _grouped(of_attended, own), _grouped(values, own)
        _grouped(of_values, own).baddbmm_(weights.mT, far)
        of_scores = (far @ near.mT).mul_(scores).mul_(2.0 / group)
        if kept is not None:
            of_scores.mul_(kept)
        of_local_query = of_scores @ _grouped(local_key, own)
        of_local_key = of_scores.mT @ _grouped(local_query, own)

        of_memory = global_query.mT @ of_attended  # (B, Q, 2 H)
        of_global_query = of_attended @ memory.mT
        of_values.baddbmm_(global_key / number, of_memory)
        of_global_key = (values @ of_memory.mT).div_(number)
        of_query, of_key = (part.view(local_query.shape) for part in (of_local_query, of_local_key))
        return of_values, of_query, of_global_query, of_key, of_global_key, None, None, None, None


def _grouped(frames: Tensor, own: int) -> Tensor:
    """(B, T, C) -> (B P, G, C)."""
    return frames.view(-1, own, frames.shape[2])


def _scores(query: Tensor, key: Tensor, own: int, group: int) -> Tensor:
    """(B P, G, G)."""
    return (_grouped(query, own) @ _grouped(key, own).mT).div_(group).relu_()
