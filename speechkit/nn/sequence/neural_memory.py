"""Neural memory: a small network per row, trained at test time to map keys to values by gradient descent.

Each position has a learning rate theta, a momentum eta and a forgetting rate alpha:

    S_t = eta_t S_(t-1) - theta_t grad |M_o(k_t) - v_t|^2        M_t = (1 - alpha_t) M_(t-1) + S_t        y_t = M_t(q_t)

M_o is the memory at the start of the chunk of position t, so all gradients of a chunk are computed in parallel; the
chunk length is part of the model. Inside a chunk M_t and S_t are linear in their values at its start and in the
rank-one gradients, so only the last memory is materialised.

Source: Behrouz et al. 2024 (Titans), sections 3.1 to 3.3. Choices not in the paper: theta is at most ``rate`` divided
by the chunk length; a position is written before it is read; the network has no biases.

Notation used for tensor shapes: B rows, C positions of a piece of a chunk, H heads, E width of a head, I and O input
and output width of a memory layer.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

Layers = list[Tensor]
"""Weights of the memory's layers, or their momentum: (B, H, O, I) each."""


def chunk_coefficients(keep: Tensor, momentum: Tensor, rates: Tensor, active: Tensor) -> tuple[Tensor, ...]:
    """Coefficients of the initial memory and momentum and of each gradient after each position of a chunk.

    Args:
        keep: log(1 - alpha), (B, H, C).
        momentum: log eta, (B, H, C).
        rates: theta, (B, H, C).
        active: (B, 1, C), 1 for positions, 0 for columns without one.

    Returns:
        Coefficients in the memory: of the initial memory and momentum (B, H, C), and of each gradient (B, H, C, C);
        coefficients in the momentum: of the initial momentum (B, H, C), and of each gradient (B, H, C, C).
    """
    kept = _runs(keep) * active[:, :, None]  # (B, H, t, i): how much of the momentum at i is in the memory at t
    carried = _runs(momentum)  # (B, H, i, j)
    fading = momentum.cumsum(-1).exp()  # (B, H, C)
    learnt = carried * rates[:, :, None]
    return keep.cumsum(-1).exp(), (kept @ fading[..., None])[..., 0], kept @ learnt, fading, learnt


def _runs(logs: Tensor) -> Tensor:
    """Products over positions i + 1 … t from logarithms (…, C): (…, t, i), zero for i > t."""
    size = logs.shape[-1]
    behind = torch.ones(size, size, dtype=torch.bool, device=logs.device).tril(-1)
    sums = logs[..., None].expand(*logs.shape, size).masked_fill(~behind, 0.0).cumsum(-2)
    return sums.masked_fill(behind.mT, -torch.inf).exp()


def read_memory(memory: Layers, x: Tensor) -> Tensor:
    """Apply fixed memories to (B, H, C, E): (B, H, C, E)."""
    for number, weight in enumerate(memory):
        x = x @ weight.mT
        x = F.silu(x) if number + 1 < len(memory) else x
    return x


def gradients(memory: Layers, keys: Tensor, values: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Rank-one gradients of |M(k) - v|^2 per position, by layer: factors (B, H, C, O) and (B, H, C, I)."""
    inputs, preactivations = [keys], []
    for weight in memory:
        preactivations.append(inputs[-1] @ weight.mT)
        inputs.append(F.silu(preactivations[-1]))
    error = 2 * (preactivations[-1] - values)
    factors = []
    for number in range(len(memory) - 1, -1, -1):
        factors.append((error, inputs[number]))
        if number:
            gate = preactivations[number - 1].sigmoid()
            slope = gate * (1 + preactivations[number - 1] * (1 - gate))
            error = error @ memory[number] * slope
    return factors[::-1]


def update_and_read(
    memory: Layers,
    momentum: Layers,
    origin: Layers,
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
    parts: tuple[Tensor, ...],
) -> tuple[Tensor, Layers, Layers]:
    """Output for queries (B, H, C, E) at their positions, and memory and momentum after the last position.

    ``parts`` is the output of `chunk_coefficients`.
    """
    kept, moved, learned, fading, carried = parts
    memories, momenta, x = [], [], queries
    for number, (error, inputs) in enumerate(gradients(origin, keys, values)):
        weight, velocity = memory[number], momentum[number]
        update = (x @ inputs.mT * learned) @ error
        x = kept[..., None] * (x @ weight.mT) + moved[..., None] * (x @ velocity.mT) - update
        x = F.silu(x) if number + 1 < len(memory) else x
        memories.append(
            kept[..., -1:, None] * weight
            + moved[..., -1:, None] * velocity
            - (error * learned[..., -1, :, None]).mT @ inputs
        )
        momenta.append(fading[..., -1:, None] * velocity - (error * carried[..., -1, :, None]).mT @ inputs)
    return x, memories, momenta


class Gates(nn.Module):
    """Forgetting, momentum and learning rate of each position and head.

    Args:
        width: of the input.
        heads: H.
        most_rate: maximum theta.
    """

    def __init__(self, width: int, heads: int, most_rate: float):
        super().__init__()
        self.heads, self.most_rate = heads, most_rate
        self.project = nn.Linear(width, 3 * heads)
        with torch.no_grad():  # initially little forgetting and short momentum
            self.project.bias.copy_(torch.tensor([-4.0, -1.0, -2.0]).repeat_interleave(heads))

    def forward(self, x: Tensor, active: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """(B, C, D) and a mask of positions (B, C) to the output of `chunk_coefficients`."""
        forget, momentum, rate = self.project(x).to(dtype).mT.chunk(3, 1)  # (B, H, C) each
        keep, momentum, rate = F.logsigmoid(-forget), F.logsigmoid(momentum), self.most_rate * rate.sigmoid()
        real = torch.ones_like(x[:, None, :, 0], dtype=dtype) if active is None else active[:, None].to(dtype)
        if active is not None:
            keep, momentum, rate = keep * real, momentum * real, rate * real
        return chunk_coefficients(keep, momentum, rate, real)


def first_memory(heads: int, width: int, depth: int, expansion: int) -> nn.ParameterList:
    """Learned initial memory: (H, O, I) per layer."""
    widths = [width, *[expansion * width] * (depth - 1), width]
    return nn.ParameterList(torch.randn(heads, out, into) * into**-0.5 for into, out in pairwise(widths))
