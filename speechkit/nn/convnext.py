"""ConvNeXt blocks over time, as in Vocos.

Notation used for shapes: B items, T frames, D width, C width of a condition.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn


class ConvNeXtBlock(nn.Module):
    """Residual block: depthwise convolution, layer norm, two pointwise layers with GELU, learned layer scale.

    Items are zero-padded; padding a batch does not affect the result.

    Args:
        width: D.
        inner: width between the pointwise layers.
        kernel: frames of the depthwise convolution, odd.
        scale: initial layer scale; 1 / blocks for a stack of blocks.
        condition: C; gain and offset of the norm then come from a vector per item (adaptive layer norm).

    Raises:
        ValueError: if the kernel is even.

    Source: Liu et al. 2022, section 3; Siuzdak 2023, section 3.2.
    """

    def __init__(self, width: int, inner: int, kernel: int = 7, scale: float = 0.125, condition: int = 0):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel is {kernel}; give an odd number")
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=not condition)
        self.modulation = nn.Linear(condition, 2 * width) if condition else None
        self.expand = nn.Linear(width, inner)
        self.reduce = nn.Linear(inner, width)
        self.scale = nn.Parameter(torch.full((width,), scale))
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, inside: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D); ``inside`` (B, T, 1) is 1 for frames and 0 for padding, ``condition`` is (B, C)."""
        hidden = x if inside is None else x * inside
        hidden = self.depthwise(hidden.transpose(1, 2)).transpose(1, 2)
        hidden = self.norm(hidden)
        if self.modulation is not None:
            if condition is None:
                raise ValueError("the block is conditioned; give a condition vector for each item")
            gain, offset = self.modulation(condition)[:, None].chunk(2, dim=-1)  # (B, 1, D)
            hidden = hidden * (1.0 + gain) + offset
        hidden = self.reduce(F.gelu(self.expand(hidden)))
        output: Tensor = x + self.scale * hidden
        return output
