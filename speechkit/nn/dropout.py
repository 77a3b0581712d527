"""Dropout that is fast on a CPU.

PyTorch draws a number of its own for every element there, in one thread. Here every 64 random bits serve four elements
(`benchmarks.transformer_step`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEPS = 1 << 16


class Dropout(nn.Dropout):
    """As `torch.nn.Dropout`, the probability rounded to 1/65536; on other devices it is that one."""

    def forward(self, frames: Tensor) -> Tensor:
        """Elements set to 0 at random and the others divided by 1 - p; in evaluation the frames themselves."""
        if not self.training or not 0 < self.p < 1 or frames.device.type != "cpu":
            return super().forward(frames)
        bits = torch.empty(-(-frames.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        drawn = bits.view(torch.int16)[: frames.numel()].view(frames.shape)
        kept = torch.empty_like(frames)
        torch.ge(drawn, round(self.p * STEPS) - STEPS // 2, out=kept)
        return frames * kept.mul_(1 / (1 - self.p))
