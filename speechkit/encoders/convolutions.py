"""Convolutions of waveform encoders on a CPU, with one frame per row, in blocks of frames.

Stock convolutions store one channel per row. A norm over channels then transposes the whole recording twice, and the
output of a layer has left the cache before the next one reads it. With one frame per row, a convolution is one product
with a matrix of overlapping rows, without transposition, and a block of frames passes through all layers in the cache.

A norm over time after the first layer needs no pass over its frames: each channel is a weighted sum of a few samples,
whose mean and variance follow from the means and covariance of those samples. It is folded into scale and bias.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from speechkit.encoders.padding import Lengths, MaskedGroupNorm

BLOCK_BYTES = 3 << 20
"""Approximate output of the first layer per block; speed is similar from 1 to 8 MB."""


class RowConvolutions(nn.Module):
    """Replaces a ``feature_extractor`` of transformers, with its weights, equal up to rounding; always float32.

    Args:
        stock: has ``conv_layers``, each with ``conv``, ``activation`` and perhaps ``layer_norm``; see `runs_by_rows`.
        lengths: of the items of a batch; frames beyond an item's end are zero.
    """

    def __init__(self, stock: Any, lengths: Lengths):
        super().__init__()
        layers: list[Any] = list(stock.conv_layers)
        self.layers: Any = nn.ModuleList(layers)
        self.lengths = lengths
        # (C out, C in, K) to (K * C in, C out): K rows that follow one another in memory are one row of the product.
        self._weights = [layer.conv.weight.detach().permute(2, 1, 0).flatten(0, 1).contiguous() for layer in layers]
        self._norm_over_time = _is_over_time(layers[0])
        self.stride, self.reach = 1, 1
        for layer in layers:
            self.reach += int((layer.conv.kernel_size[0] - 1) * self.stride)
            self.stride *= int(layer.conv.stride[0])
        first = layers[0].conv
        self._block = max(1, BLOCK_BYTES // (4 * int(first.out_channels) * self.stride // int(first.stride[0])))

    def forward(self, waveforms: Tensor) -> Tensor:
        """(B, S) -> (B, C, T)."""
        with torch.autocast(waveforms.device.type, enabled=False):
            frames = (waveforms.shape[1] - self.reach) // self.stride + 1
            counts = [frames] * len(waveforms) if self.lengths.frames is None else self.lengths.frames.tolist()
            samples = self.lengths.samples
            ends = [waveforms.shape[1]] * len(waveforms) if samples is None else samples.tolist()
            rows = [
                self._frames(item[:end, None], count)
                for item, end, count in zip(waveforms.float(), ends, counts, strict=True)
            ]
            if len(rows) == 1:
                return rows[0].T[None]
            padded = [nn.functional.pad(item, (0, 0, 0, frames - len(item))) for item in rows]
            return torch.stack(padded).transpose(1, 2)

    def _frames(self, rows: Tensor, count: int) -> Tensor:
        """(S, 1) -> (count, C)."""
        weights: list[tuple[Tensor, Tensor | None]] = [
            (weight, layer.conv.bias) for weight, layer in zip(self._weights, self.layers, strict=True)
        ]
        if self._norm_over_time:
            weights[0] = _normalised(rows, self.layers[0], self._weights[0])
        blocks = []
        for begin in range(0, count, self._block):
            end = min(count, begin + self._block)
            part = rows[begin * self.stride : (end - 1) * self.stride + self.reach].contiguous()
            for number, (layer, (weight, bias)) in enumerate(zip(self.layers, weights, strict=True)):
                part = _overlapping(part, layer.conv)
                part = part @ weight if bias is None else torch.addmm(bias, part, weight)
                norm: Any = getattr(layer, "layer_norm", None)
                folded = norm is None or (self._norm_over_time and not number)
                part = layer.activation(part if folded else norm(part))
            blocks.append(part)
        return torch.cat(blocks)


def runs_by_rows(stock: Any) -> bool:
    """Whether `RowConvolutions` can replace it: plain layers, with a norm over time only after the first."""
    layers = stock.conv_layers
    plain = all(
        layer.conv.padding == (0,) and layer.conv.dilation == (1,) and layer.conv.groups == 1 for layer in layers
    )
    by_frames = all(isinstance(getattr(layer, "layer_norm", None), nn.LayerNorm | None) for layer in layers[1:])
    first = layers[0]
    fits = isinstance(getattr(first, "layer_norm", None), nn.LayerNorm | None) or _is_over_time(first)
    return plain and by_frames and fits


def _is_over_time(layer: Any) -> bool:
    """Whether a one-channel layer normalises each output channel over all frames."""
    norm = getattr(layer, "layer_norm", None)
    alone = isinstance(norm, MaskedGroupNorm) or (
        isinstance(norm, nn.GroupNorm) and norm.num_groups == norm.num_channels
    )
    return alone and layer.conv.in_channels == 1


def _overlapping(rows: Tensor, conv: Any) -> Tensor:
    """Input of each frame of a convolution: (T, C) to (T', K * C), rows that share memory."""
    kernel, stride, channels = conv.kernel_size[0], conv.stride[0], rows.shape[1]
    count = (len(rows) - kernel) // stride + 1
    return rows.as_strided((count, kernel * channels), (stride * channels, 1), rows.storage_offset())


def _normalised(rows: Tensor, layer: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (K, C) and bias (C,) that normalise each channel over the frames of an item (S, 1).

    A channel is w·x of windows x of K samples: its mean is w·m, its variance w·V·w of their mean and covariance.
    """
    norm = layer.layer_norm
    windows = _overlapping(rows.contiguous().double(), layer.conv)
    mean = windows.mean(0)
    centred = windows - mean
    covariance = centred.T @ centred / len(windows)
    exact = weight.double()
    variance = (exact * (covariance @ exact)).sum(0)
    scale = norm.weight * (variance + norm.eps).rsqrt()
    bias = norm.bias - (mean @ exact) * scale
    return (exact * scale).float(), bias.float()
