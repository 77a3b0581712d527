"""Recurrent layers over batches of unequal lengths.

A packed sequence takes PyTorch's slow path on a processor: every step copies its part of the batch. A layer that reads
from the left is not changed by padding on the right, and one that reads from the right is a layer that reads each item
turned round; so both directions can run over the padded batch in the fused kernel. Measured on one core, forward and
backward, 32 items of 90 to 125 frames: width 128 over 80 dimensions 0.07 s instead of 0.25 s, width 256 over 384
dimensions 0.38 s instead of 0.95 s.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def both_directions(recurrent: nn.LSTM, x: Tensor, frames: Tensor) -> Tensor:
    """A bidirectional layer over the frames that are there: (B, T, D), (B,) -> (B, T, 2 * hidden), zero behind them.

    An item without frames is read as if it had one.
    """
    frames = frames.clamp(min=1)
    if x.is_cuda:  # there the packed kernel is the fast one
        sequence = nn.utils.rnn.pack_padded_sequence(x, frames.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = nn.utils.rnn.pad_packed_sequence(recurrent(sequence)[0], batch_first=True, total_length=x.shape[1])
        return out
    frames = frames.to(x.device)
    steps = torch.arange(x.shape[1], device=x.device)[None]
    real = steps < frames[:, None]
    order = torch.where(real, frames[:, None] - 1 - steps, steps)[..., None]  # (B, T, 1)

    def turned(rows: Tensor) -> Tensor:
        return rows.gather(1, order.expand(-1, -1, rows.shape[2]))

    forward = _one_direction(recurrent, x, "")
    backward = turned(_one_direction(recurrent, turned(x), "_reverse"))
    return torch.cat([forward, backward], dim=-1) * real[..., None]


def _one_direction(recurrent: nn.LSTM, x: Tensor, suffix: str) -> Tensor:
    """(B, T, D) -> (B, T, hidden), with the weights of one direction of the first layer."""
    begin = x.new_zeros(1, len(x), recurrent.hidden_size)
    weights = [getattr(recurrent, f"{name}_l0{suffix}") for name in WEIGHTS]
    out: Tensor = torch.lstm(x, (begin, begin), weights, True, 1, 0.0, recurrent.training, False, True)[0]
    return out
