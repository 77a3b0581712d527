"""Make wav2vec 2.0-shaped networks invariant to padding, so that a batch equals its items alone.

Padding leaks in three places of the stock classes: the group norm of the first convolution averages over padded frames,
stacked positional convolutions read the padding written by earlier ones, and batch norm before the positional
convolution turns zeros into other values. Here each of them gets the lengths of the items.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from speechkit.nn.masks import length_mask


class Lengths:
    """Lengths of the items of the current batch, None if none is padded; shared between modules."""

    def __init__(self) -> None:
        self.samples: Tensor | None = None
        self.frames: Tensor | None = None


class MaskedGroupNorm(nn.Module):
    """Group norm with one channel per group and statistics over valid frames; padded frames become zero.

    Source: the norm of Baevski et al. 2020 (first convolution); Wu and He 2018.
    """

    def __init__(self, stock: nn.GroupNorm, kernel: int, stride: int, lengths: Lengths):
        super().__init__()
        if stock.num_groups != stock.num_channels:
            raise ValueError(f"{stock.num_groups} groups for {stock.num_channels} channels; expected one each")
        self.weight, self.bias, self.eps = stock.weight, stock.bias, stock.eps
        self.kernel, self.stride, self.lengths = kernel, stride, lengths

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        samples = self.lengths.samples
        if samples is None:
            return nn.functional.group_norm(x, x.shape[1], self.weight, self.bias, self.eps)
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            frames = ((samples - self.kernel) // self.stride + 1).clamp(min=1)[:, None, None]
            inside = length_mask(frames[:, 0, 0], x.shape[-1])[:, None]
            mean = (x * inside).sum(-1, keepdim=True) / frames
            centred = (x - mean) * inside
            variance = centred.square().sum(-1, keepdim=True) / frames
            normal = centred * (variance + self.eps).rsqrt()
            return (normal * self.weight[:, None] + self.bias[:, None]) * inside


def make_padding_invariant(model: Any) -> Lengths:
    """Replace the modules of a transformers waveform model that read padding.

    Returns:
        the lengths to set before each call: ``samples`` of the padded waveforms, ``frames`` after the convolutions.
    """
    lengths = Lengths()
    first = model.feature_extractor.conv_layers[0]
    if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
        first.layer_norm = MaskedGroupNorm(first.layer_norm, first.conv.kernel_size[0], first.conv.stride[0], lengths)

    def masked(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, frames = inputs[0], lengths.frames
        if frames is None:
            return inputs
        inside = length_mask(frames, x.shape[-1])[:, None]
        return (x * inside, *inputs[1:])

    for module in model.encoder.pos_conv_embed.modules():
        if isinstance(module, nn.Conv1d):
            module.register_forward_pre_hook(masked)
    return lengths
