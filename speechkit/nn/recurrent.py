"""Bidirectional LSTM over padded batches.

Packed sequences use PyTorch's slow path on a CPU, which copies part of the batch at every step. The forward direction
is not affected by right padding, and the backward direction is a forward pass over reversed items; so both directions
run on the padded batch with the fused kernel. Measured on one core, forward and
backward, 32 items of 90 to 125 frames: width 128 over 80 dimensions 0.07 s instead of 0.25 s, width 256 over 384
dimensions 0.38 s instead of 0.95 s.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def both_directions(recurrent: nn.LSTM, x: Tensor, frames: Tensor) -> Tensor:
    """A bidirectional LSTM layer over padded items: (B, T, D), (B,) -> (B, T, 2 * hidden), zero for padding.

    Empty items are treated as having one frame.
    """
    frames = frames.clamp(min=1)
    if x.is_cuda:  # packed sequences are fast on CUDA
        sequence = nn.utils.rnn.pack_padded_sequence(x, frames.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = nn.utils.rnn.pad_packed_sequence(recurrent(sequence)[0], batch_first=True, total_length=x.shape[1])
        return out
    frames = frames.to(x.device)
    steps = torch.arange(x.shape[1], device=x.device)[None]
    real = steps < frames[:, None]
    order = torch.where(real, frames[:, None] - 1 - steps, steps)[..., None]  # (B, T, 1)

    def reverse(rows: Tensor) -> Tensor:
        return rows.gather(1, order.expand(-1, -1, rows.shape[2]))

    forward = _one_direction(recurrent, x, "")
    backward = reverse(_one_direction(recurrent, reverse(x), "_reverse"))
    return torch.cat([forward, backward], dim=-1) * real[..., None]


def _one_direction(recurrent: nn.LSTM, x: Tensor, suffix: str) -> Tensor:
    """(B, T, D) -> (B, T, hidden) with the first layer's weights of one direction."""
    begin = x.new_zeros(1, len(x), recurrent.hidden_size)
    weights = [getattr(recurrent, f"{name}_l0{suffix}") for name in WEIGHTS]
    out: Tensor = torch.lstm(x, (begin, begin), weights, True, 1, 0.0, recurrent.training, False, True)[0]
    return out
