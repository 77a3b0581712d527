"""The convolutions of encoders of waveforms on a processor: a frame a row, some frames at a time.

Stock convolutions hold a channel a row. A norm over channels then turns the whole recording over and back, and what one
layer wrote has left the cache before the next reads it. With a frame a row, a convolution is one product of a matrix
whose rows overlap in memory, nothing is turned over, and a block of frames goes through all layers while it is at hand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from speechkit.encoders.padding import Lengths

BLOCK_BYTES = 3 << 20
"""About as much as the first layer writes for a block; from 1 to 8 MB the speed is much the same."""


class RowConvolutions(nn.Module):
    """In place of a ``feature_extractor`` of transformers, with its weights and results to rounding; always float32.

    Args:
        stock: has ``conv_layers``, each with ``conv``, ``activation`` and perhaps ``layer_norm``.
        lengths: of the items of a batch; frames behind the end of one are zero.
    """

    def __init__(self, stock: Any, lengths: Lengths):
        super().__init__()
        layers = list(stock.conv_layers)
        norms_over_time = [number for number, layer in enumerate(layers, start=1) if not _by_rows(layer)]
        begin = max(norms_over_time, default=0)
        self.whole = nn.ModuleList(layers[:begin])
        self.by_rows = nn.ModuleList(layers[begin:])
        self.lengths = lengths
        # (C out, C in, K) to (K * C in, C out): K rows that follow one another in memory are one row of the product.
        self._weights = [
            layer.conv.weight.detach().permute(2, 1, 0).flatten(0, 1).contiguous() for layer in layers[begin:]
        ]
        self.stride, self.reach = 1, 1
        for layer in layers[begin:]:
            self.reach += (layer.conv.kernel_size[0] - 1) * self.stride
            self.stride *= layer.conv.stride[0]
        first = layers[begin].conv if begin < len(layers) else None
        written = 4 * first.out_channels * self.stride // first.stride[0] if first is not None else BLOCK_BYTES
        self._block = max(1, BLOCK_BYTES // written)

    def forward(self, waveforms: Tensor) -> Tensor:
        """(B, S) -> (B, C, T)."""
        with torch.autocast(waveforms.device.type, enabled=False):
            x = waveforms[:, None].float()
            for layer in self.whole:
                x = layer(x)
            frames = (x.shape[-1] - self.reach) // self.stride + 1
            counts = [frames] * len(x) if self.lengths.frames is None else self.lengths.frames.tolist()
            rows = [self._frames(item, count) for item, count in zip(x.transpose(1, 2), counts, strict=True)]
            padded = [nn.functional.pad(item, (0, 0, 0, frames - len(item))) for item in rows]
            return torch.stack(padded).transpose(1, 2)

    def _frames(self, rows: Tensor, count: int) -> Tensor:
        """(T, C) -> (count, C')."""
        blocks = []
        for begin in range(0, count, self._block):
            end = min(count, begin + self._block)
            part = rows[begin * self.stride : (end - 1) * self.stride + self.reach].contiguous()
            for layer, weights in zip(self.by_rows, self._weights, strict=True):
                part = _convolve(part, layer, weights)
            blocks.append(part)
        return torch.cat(blocks)


def faster_by_rows(stock: Any) -> bool:
    """Whether no layer has a norm over time, which wants a channel a row and costs more than the others gain."""
    return all(_by_rows(layer) for layer in stock.conv_layers)


def _by_rows(layer: Any) -> bool:
    """Whether a layer makes each of its frames of a few frames of its input alone."""
    conv = layer.conv
    plain = conv.padding == (0,) and conv.dilation == (1,) and conv.groups == 1
    return plain and isinstance(getattr(layer, "layer_norm", None), nn.LayerNorm | None)


def _convolve(rows: Tensor, layer: Any, weights: Tensor) -> Tensor:
    """(T, C) -> (T', C')."""
    kernel, stride, channels = layer.conv.kernel_size[0], layer.conv.stride[0], rows.shape[1]
    count = (len(rows) - kernel) // stride + 1
    overlapping = rows.as_strided((count, kernel * channels), (stride * channels, 1))
    bias = layer.conv.bias
    made = overlapping @ weights if bias is None else torch.addmm(bias, overlapping, weights)
    norm = getattr(layer, "layer_norm", None)
    answer: Tensor = layer.activation(made if norm is None else norm(made))
    return answer
