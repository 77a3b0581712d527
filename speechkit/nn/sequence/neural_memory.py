"""A memory that learns while it reads: a small network a row, trained to map keys to values by gradient descent.

Each position has its own rate theta, momentum eta and share alpha of what is forgotten:

    S_t = eta_t S_(t-1) - theta_t grad |M_o(k_t) - v_t|^2        M_t = (1 - alpha_t) M_(t-1) + S_t        y_t = M_t(q_t)

M_o is the memory at the begin of the chunk that position t is in, so that all gradients of a chunk are computed at
once; the length of chunks is a part of the model. Inside a chunk M_t and S_t are sums of what they were at its begin
and of the gradients, which are of rank one, so that no memory but the last is written down.

Source: Behrouz et al. 2024 (Titans), sections 3.1 to 3.3. What they leave open: here theta is at most ``rate`` divided
by the positions of a chunk, whose gradients add up; a position is written before it is read; the network has no biases.

Notation used for tensor shapes: B rows, C positions of a piece of a chunk, H heads, E width of a head, I and O width of
what enters and leaves a layer of the memory.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

Layers = list[Tensor]
"""Weights of a memory's layers, or their momentum: (B, H, O, I) each."""


def chunk_coefficients(keep: Tensor, momentum: Tensor, rates: Tensor, active: Tensor) -> tuple[Tensor, ...]:
    """How much of what there was, and of each gradient, is in the memory and its momentum after each position.

    Args:
        keep: (B, H, C) logarithms of 1 - alpha.
        momentum: (B, H, C) logarithms of eta.
        rates: (B, H, C) theta.
        active: (B, 1, C) 1 at positions, 0 at columns that change nothing.

    Returns:
        (B, H, C) of the memory and of its momentum in the memory; (B, H, C, C) of each gradient in the memory;
        (B, H, C) of the momentum and (B, H, C, C) of each gradient in the momentum.
    """
    kept = _runs(keep) * active[:, :, None]  # (B, H, t, i): how much of the momentum at i is in the memory at t
    carried = _runs(momentum)  # (B, H, i, j)
    fading = momentum.cumsum(-1).exp()  # (B, H, C)
    learnt = carried * rates[:, :, None]
    return keep.cumsum(-1).exp(), (kept @ fading[..., None])[..., 0], kept @ learnt, fading, learnt


def _runs(logs: Tensor) -> Tensor:
    """Products over positions i + 1 … t: (…, C) logarithms to (…, t, i), zero for i > t; summed, never divided."""
    size = logs.shape[-1]
    behind = torch.ones(size, size, dtype=torch.bool, device=logs.device).tril(-1)
    sums = logs[..., None].expand(*logs.shape, size).masked_fill(~behind, 0.0).cumsum(-2)
    return sums.masked_fill(behind.mT, -torch.inf).exp()


def read_memory(memory: Layers, x: Tensor) -> Tensor:
    """(B, H, C, E) through memories that do not change: (B, H, C, E)."""
    for number, weight in enumerate(memory):
        x = x @ weight.mT
        x = F.silu(x) if number + 1 < len(memory) else x
    return x


def gradients(memory: Layers, keys: Tensor, values: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of |M(k) - v|^2 at each position, by layer: (B, H, C, O) and (B, H, C, I), whose outer product it is."""
    entered, before = [keys], []
    for weight in memory:
        before.append(entered[-1] @ weight.mT)
        entered.append(F.silu(before[-1]))
    error = 2 * (before[-1] - values)
    found = []
    for number in range(len(memory) - 1, -1, -1):
        found.append((error, entered[number]))
        if number:
            opened = before[number - 1].sigmoid()
            slope = opened * (1 + before[number - 1] * (1 - opened))
            error = error @ memory[number] * slope
    return found[::-1]


def update_and_read(
    memory: Layers,
    momentum: Layers,
    origin: Layers,
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
    parts: tuple[Tensor, ...],
) -> tuple[Tensor, Layers, Layers]:
    """What queries (B, H, C, E) read at their positions, and memory and momentum behind the last.

    ``parts`` is what `chunk_coefficients` gives.
    """
    kept, moved, learnt, fading, carried = parts
    memories, momenta, x = [], [], queries
    for number, (error, entered) in enumerate(gradients(origin, keys, values)):
        weight, speed = memory[number], momentum[number]
        near = (x @ entered.mT * learnt) @ error
        x = kept[..., None] * (x @ weight.mT) + moved[..., None] * (x @ speed.mT) - near
        x = F.silu(x) if number + 1 < len(memory) else x
        memories.append(
            kept[..., -1:, None] * weight
            + moved[..., -1:, None] * speed
            - (error * learnt[..., -1, :, None]).mT @ entered
        )
        momenta.append(fading[..., -1:, None] * speed - (error * carried[..., -1, :, None]).mT @ entered)
    return x, memories, momenta


class Gates(nn.Module):
    """Forgetting, momentum and rate of each position and head.

    Args:
        width: of what enters.
        heads: H.
        most_rate: of theta.
    """

    def __init__(self, width: int, heads: int, most_rate: float):
        super().__init__()
        self.heads, self.most_rate = heads, most_rate
        self.project = nn.Linear(width, 3 * heads)
        with torch.no_grad():  # at first a memory forgets little, and learns from the last positions
            self.project.bias.copy_(torch.tensor([-4.0, -1.0, -2.0]).repeat_interleave(heads))

    def forward(self, x: Tensor, active: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """(B, C, D) and which columns are positions (B, C) to what `chunk_coefficients` gives."""
        forget, momentum, rate = self.project(x).to(dtype).mT.chunk(3, 1)  # (B, H, C) each
        keep, momentum, rate = F.logsigmoid(-forget), F.logsigmoid(momentum), self.most_rate * rate.sigmoid()
        real = torch.ones_like(x[:, None, :, 0], dtype=dtype) if active is None else active[:, None].to(dtype)
        if active is not None:
            keep, momentum, rate = keep * real, momentum * real, rate * real
        return chunk_coefficients(keep, momentum, rate, real)


def first_memory(heads: int, width: int, depth: int, expansion: int) -> nn.ParameterList:
    """What all memories begin as: (H, O, I) a layer."""
    widths = [width, *[expansion * width] * (depth - 1), width]
    return nn.ParameterList(torch.randn(heads, out, into) * into**-0.5 for into, out in pairwise(widths))
