"""Fast dropout on a CPU.

PyTorch draws one random number per element, in a single thread. Here 64 random bits serve four elements
(`benchmarks.transformer_step`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEPS = 1 << 16


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` with the probability rounded to 1/65536 on a CPU, and unchanged on other devices."""

    def forward(self, frames: Tensor) -> Tensor:
        """Random elements set to 0 and the others divided by 1 - p; the identity in evaluation mode."""
        if not self.training or not 0 < self.p < 1 or frames.device.type != "cpu":
            return super().forward(frames)
        bits = torch.empty(-(-frames.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        drawn = bits.view(torch.int16)[: frames.numel()].view(frames.shape)
        kept = torch.empty_like(frames)
        torch.ge(drawn, round(self.p * STEPS) - STEPS // 2, out=kept)
        return frames * kept.mul_(1 / (1 - self.p))
