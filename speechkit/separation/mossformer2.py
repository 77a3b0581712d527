"""MossFormer2: gated local and global attention, and an RNN-free recurrent module, over frames of a waveform.

Source: Zhao et al. 2024, "MossFormer2: Combining Transformer and RNN-free Recurrent Network for Enhanced Time-Domain
Monaural Speech Separation". `large` has exactly the published weights (`published.py` reads its checkpoints) and the
same output, computed in another order: projections of the same input are one matrix product, gains of norms and
residual connections of convolutions are folded into weights, and the layout is (frames, channels) throughout.

Notation used for tensor shapes: B items, S samples, T frames, N speakers, F filters, D width, H half of the hidden
width, Q width of queries and keys, M width of the memory, G frames of a group.
"""

from __future__ import annotations

from typing import ClassVar, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from msgspec.structs import replace
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechkit.errors import ConfigError
from speechkit.nn.activations import prelu
from speechkit.nn.depthwise import depthwise
from speechkit.nn.dropout import Dropout
from speechkit.nn.group_attention import gated_group_attention
from speechkit.nn.masks import padding_mask
from speechkit.nn.norms import channel_norm, item_norm, scale_norm
from speechkit.separation.filter_bank import overlap_add
from speechkit.separation.model import Separator, SeparatorConfig, register


class MossFormer2Config(SeparatorConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="mossformer2"):
    """Configuration of a MossFormer2.

    Attributes:
        filters: filters of the learnt filter bank, F.
        kernel: frame length in samples; the hop is half of it.
        width: model width, D.
        blocks: number of blocks of attention and recurrent module.
        expansion: hidden width of attention as a multiple of ``width``, half for values and half for gates.
        query_key: width of queries and keys, Q.
        rotary: dimensions of queries and keys with rotary position embedding.
        group: frames per group of local attention, G.
        taps: kernel size of the convolutions after linear layers.
        memory: width of the recurrent module, M.
        memory_taps: kernel size of the memory's convolutions.
        memory_layers: layers of the memory; the dilation doubles from layer to layer.
        dropout: dropout rate in training.
        multiplied: whether masks multiply the filter bank's output; the published network for WHAMR! uses the mask as
            the output.
    """

    filters: int = 512
    kernel: int = 16
    width: int = 512
    blocks: int = 24
    expansion: int = 4
    query_key: int = 128
    rotary: int = 32
    group: int = 256
    taps: int = 17
    memory: int = 256
    memory_taps: int = 39
    memory_layers: int = 2
    dropout: float = 0.1
    multiplied: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        odd = [name for name in ("kernel", "width", "rotary") if getattr(self, name) % 2]
        even = [name for name in ("taps", "memory_taps") if getattr(self, name) % 2 == 0]
        for names, kind in ((odd, "even"), (even, "odd")):
            for name in names:
                raise ConfigError(f"mossformer2 separator: {name} is {getattr(self, name)}; make it {kind}")
        if self.rotary > self.query_key or self.width * self.expansion % 2:
            raise ConfigError(
                f"mossformer2 separator: rotary is {self.rotary} and query_key {self.query_key}; set rotary to at most "
                "query_key, and width * expansion to an even number"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"mossformer2 separator: dropout is {self.dropout}; give 0 or more, and less than 1")


LARGE = MossFormer2Config()
TINY_8K = MossFormer2Config(
    filters=128,
    kernel=64,
    width=128,
    blocks=6,
    expansion=2,
    query_key=64,
    group=128,
    memory=96,
    memory_taps=19,
    dropout=0.0,
)
SMALL_8K = MossFormer2Config(
    filters=256, width=256, blocks=10, expansion=2, query_key=64, memory=128, dropout=0.0, kernel=16
)
BASE_8K = MossFormer2Config(filters=384, width=384, blocks=16, kernel=16)

SIZES = {
    "tiny": TINY_8K,
    "small": SMALL_8K,
    "base": BASE_8K,
    "large": LARGE,
    # The same frame rate, with frames of twice the samples; the published 16 kHz network has twice the frame rate.
    "tiny-16k": replace(TINY_8K, sample_rate=16_000, kernel=2 * TINY_8K.kernel),
    "small-16k": replace(SMALL_8K, sample_rate=16_000, kernel=2 * SMALL_8K.kernel),
    "base-16k": replace(BASE_8K, sample_rate=16_000, kernel=2 * BASE_8K.kernel),
    "large-16k": replace(LARGE, sample_rate=16_000),
}


@register(SIZES)
class MossFormer2(Separator):
    """Masks over a learnt filter bank; see the module."""

    config_type: ClassVar[type[SeparatorConfig]] = MossFormer2Config

    def __init__(self, config: MossFormer2Config):
        super().__init__(config)
        filters, width, speakers = config.filters, config.width, config.speakers
        self.filters = nn.Linear(config.kernel, filters, bias=False)
        self.filters_norm = nn.LayerNorm(filters)  # holds the parameters only; statistics are over whole items
        self.input_proj = nn.Linear(filters, width, bias=False)
        self.position_scale = nn.Parameter(torch.ones(1))
        self.frequencies = nn.Parameter(_frequencies(config.rotary), requires_grad=False)  # as published, fixed
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.frame_norm = nn.LayerNorm(width, 1e-6)
        self.item_norm = nn.LayerNorm(width)
        self.activation = nn.PReLU()
        self.split = nn.Linear(width, width * speakers)
        self.gates = nn.Linear(width, 2 * width)
        self.output_proj = nn.Linear(width, filters, bias=False)
        self.synthesis = nn.Linear(filters, config.kernel, bias=False)
        nn.init.uniform_(self.synthesis.weight, -(config.kernel**-0.5), config.kernel**-0.5)  # as ConvTranspose1d

    @property
    def hop(self) -> int:
        """See `Separator`."""
        return int(self.config.kernel) // 2

    def forward(self, mixture: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See `Separator`; up to ``hop`` - 1 last samples, which fill no frame, are zero."""
        kernel, hop, samples = self.config.kernel, self.hop, mixture.shape[1]
        kept = padding_mask(lengths, samples)  # (B, S)
        counts, longest = None, max(samples, kernel)
        if kept is not None and lengths is not None:
            mixture = mixture.masked_fill(~kept, 0.0)
            counts = (lengths - kernel).clamp(min=0) // hop + 1  # (B,) frames
            longest = (int(counts.max()) + 1) * hop
        mixture = F.pad(mixture, (0, longest - samples))
        with torch.autocast(mixture.device.type, enabled=False):  # half precision would add audible noise
            filtered = self.filters(mixture.float().unfold(1, kernel, hop)).relu()  # (B, T, F)
        valid = padding_mask(counts, filtered.shape[1])
        valid = None if valid is None else valid[:, :, None].float()  # (B, T, 1)
        masks = self.masks(filtered, valid, counts).float()  # (B, T, N, F)
        with torch.autocast(mixture.device.type, enabled=False):
            if self.config.multiplied:
                masks = masks * filtered[:, :, None]
            if valid is not None:
                masks = masks * valid[..., None]
            tracks = overlap_add(self.synthesis(masks))  # (B, N, (T + 1) * hop)
        tracks = F.pad(tracks, (0, max(0, samples - tracks.shape[2])))[..., :samples]
        return tracks if kept is None else tracks * kept[:, None]

    def masks(self, filtered: Tensor, valid: Tensor | None = None, counts: Tensor | None = None) -> Tensor:
        """Masks (B, T, N, F) from filter outputs (B, T, F); ``valid`` (B, T, 1) and ``counts`` (B,) of real frames."""
        x = self.input_proj(item_norm(filtered, self.filters_norm.weight, self.filters_norm.bias, valid))
        positions = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
        x = x + sinusoids(positions, self.config.width) * self.position_scale
        skip = x = masked(x, valid)  # (B, T, D)
        rotary = rotation(positions, self.frequencies, self.config.query_key)
        for block in self.blocks:
            if self.checkpointing and self.training and torch.is_grad_enabled():
                x = cast("Tensor", checkpoint(block, x, rotary, valid, counts, use_reentrant=False))
            else:
                x = block(x, rotary, valid, counts)
        x = item_norm(self.frame_norm(x), self.item_norm.weight, self.item_norm.bias, valid)
        x = prelu(x + skip, self.activation.weight)
        x = self.split(x).view(*x.shape[:2], self.speakers, -1)  # (B, T, N, D)
        value, gate = self.gates(x).chunk(2, -1)
        return cast("Tensor", self.output_proj(value.tanh() * gate.sigmoid()).relu())


class Block(nn.Module):
    """Attention and recurrent module, each with a residual connection."""

    def __init__(self, config: MossFormer2Config):
        super().__init__()
        self.attention = GatedAttention(config)
        self.recurrence = GatedMemory(config)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], valid: Tensor | None, counts: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D); frames beyond an item's length are zero in both."""
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        x = x + masked(self.attention(x.to(dtype), rotary, valid, counts), valid).to(x.dtype)
        return x + masked(self.recurrence(x.to(dtype), valid), valid).to(x.dtype)


class GatedAttention(nn.Module):
    """Single-head gated attention: squared ReLU within groups plus linear attention over the whole item."""

    def __init__(self, config: MossFormer2Config):
        super().__init__()
        hidden, self.group = config.width * config.expansion, config.group
        widths = (hidden, config.query_key)
        self.widths = widths
        self.gain = nn.Parameter(torch.ones(2))  # of the norms before hidden units, and before queries and keys
        self.input_proj = nn.Linear(config.width, sum(widths))
        self.taps = Taps(sum(widths), config.taps)
        # Rows: local queries, global queries, local keys, global keys.
        self.scale = nn.Parameter(torch.randn(4, config.query_key, device="cpu") * 0.02)
        self.offset = nn.Parameter(torch.zeros(4, config.query_key))
        self.out_gain = nn.Parameter(torch.ones(1))
        self.output_proj = nn.Linear(hidden // 2, config.width)
        self.out_taps = Taps(config.width, config.taps)
        self.rotary = config.rotary
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], valid: Tensor | None, counts: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        shifted, unshifted = x.chunk(2, -1)
        x = torch.cat([F.pad(shifted, (0, 0, 1, -1)), unshifted], -1)
        gain = self.gain.repeat_interleave(torch.tensor(self.widths, device=x.device))[:, None]
        hidden = F.linear(scale_norm(x), self.input_proj.weight * gain, self.input_proj.bias)
        hidden = self.dropout(self.taps(F.silu(masked(hidden, valid))))
        values, query_key = hidden.split(self.widths, -1)  # (B, T, 2 H), (B, T, Q)
        local_query, global_query, local_key, global_key = self.heads(query_key, rotary, valid)
        attended = gated_group_attention(
            values.contiguous(),
            (local_query, global_query),
            (local_key, global_key),
            self.group,
            x.shape[1] if counts is None else counts,
            self.dropout if self.training and self.dropout.p else None,
        )
        output = F.linear(scale_norm(attended), self.output_proj.weight * self.out_gain, self.output_proj.bias)
        return cast("Tensor", self.dropout(self.out_taps(F.silu(masked(output, valid)))))

    def heads(self, query_key: Tensor, rotary: tuple[Tensor, Tensor], valid: Tensor | None) -> list[Tensor]:
        """Queries and keys, local and global: affine maps of (B, T, Q) with rotary embedding; padding keys are 0."""
        cosine, sine = rotary
        swapped = swap_pairs(query_key, self.rotary)
        heads = []
        for index, (scale, offset) in enumerate(zip(self.scale, self.offset, strict=True)):
            constant = offset * cosine + swap_pairs(offset, self.rotary) * sine  # (T, Q)
            direct, crossed = scale * cosine, swap_pairs(scale, self.rotary) * sine
            constant, direct, crossed = (factor.to(query_key.dtype) for factor in (constant, direct, crossed))
            head = torch.addcmul(torch.addcmul(constant, query_key, direct), swapped, crossed)
            heads.append(head if index < 2 else masked(head, valid))
        return heads


class GatedMemory(nn.Module):
    """RNN-free recurrent module: a gated FSMN (feed-forward sequential memory) of dense dilated convolutions."""

    def __init__(self, config: MossFormer2Config):
        super().__init__()
        memory = config.memory
        self.input_proj = nn.Linear(config.width, memory)
        self.activation = nn.PReLU()
        self.norm = nn.LayerNorm(memory)
        # The affine parameters of the norms before the two halves of `halves`: the memory's input and its gate.
        self.halves_weight, self.halves_bias = nn.Parameter(torch.ones(2, memory)), nn.Parameter(torch.zeros(2, memory))
        self.halves = nn.Linear(memory, 2 * memory)
        self.taps = Taps(2 * memory, config.taps)
        self.widen = nn.Linear(memory, memory)
        self.project = nn.Linear(memory, memory, bias=False)
        self.layers = nn.ModuleList(
            MemoryLayer(memory, config.memory_taps, layer) for layer in range(config.memory_layers)
        )
        self.out_norm = nn.LayerNorm(memory)
        self.output_proj = nn.Linear(memory, config.width)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = self.norm(prelu(self.input_proj(x), self.activation.weight))
        weight = self.halves.weight.view(2, *self.widen.weight.shape)  # (2, M, M)
        bias = self.halves.bias + (weight @ self.halves_bias[..., None]).flatten()
        weight = (weight * self.halves_weight[:, None]).flatten(0, 1)
        halves = F.linear(F.layer_norm(x, x.shape[-1:], eps=self.norm.eps), weight, bias)
        halves = self.dropout(self.taps(F.silu(masked(halves, valid))))
        memory_input, gate = halves.chunk(2, -1)
        memory = masked(self.project(self.widen(memory_input).relu()), valid)
        layer_outputs = memory  # of all layers so far, concatenated
        for layer in self.layers:
            memory = layer(layer_outputs, valid)
            layer_outputs = torch.cat([memory, layer_outputs], -1)
        x = self.out_norm(gate * (memory_input + memory) + x)
        return cast("Tensor", self.output_proj(x))


class MemoryLayer(nn.Module):
    """Dilated convolution over the outputs of all previous layers, with instance norm and PReLU.

    As published, output channel c takes the c-th group of adjacent channels of the concatenated outputs, not channel c
    of each layer.
    """

    def __init__(self, memory: int, taps: int, layer: int):
        super().__init__()
        self.below, self.dilation = layer + 1, 2**layer
        self.weight = nn.Parameter(torch.empty(memory, self.below, taps))
        nn.init.uniform_(self.weight, -((self.below * taps) ** -0.5), (self.below * taps) ** -0.5)
        self.norm_weight, self.norm_bias = nn.Parameter(torch.ones(memory)), nn.Parameter(torch.zeros(memory))
        self.slope = nn.Parameter(torch.full((memory,), 0.25))

    def forward(self, below: Tensor, valid: Tensor | None) -> Tensor:
        """(B, T, layers * M) -> (B, T, M)."""
        output = depthwise(below, self.weight.flatten(0, 1), self.dilation)
        if self.below > 1:
            parts = output.view(*output.shape[:2], -1, self.below).unbind(-1)
            output = sum(parts[1:], parts[0])
        return prelu(channel_norm(output, self.norm_weight, self.norm_bias, valid), self.slope)


class Taps(nn.Module):
    """Depthwise convolution with a residual connection."""

    identity: Tensor

    def __init__(self, channels: int, taps: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, taps))
        nn.init.uniform_(self.weight, -(taps**-0.5), taps**-0.5)
        identity = torch.zeros(taps)
        identity[taps // 2] = 1.0
        self.register_buffer("identity", identity, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return depthwise(frames, self.weight + self.identity)


def masked(frames: Tensor, valid: Tensor | None) -> Tensor:
    """Frames (B, T, C), set to 0 where ``valid`` (B, T, 1) is 0."""
    return frames if valid is None else frames * valid.to(frames.dtype)


def swap_pairs(x: Tensor, width: int) -> Tensor:
    """(…, Q) with the first ``width`` dimensions swapped in adjacent pairs."""
    pairs = x[..., :width].reshape(*x.shape[:-1], -1, 2).flip(-1).flatten(-2)
    return torch.cat([pairs, x[..., width:]], -1) if width < x.shape[-1] else pairs


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Sinusoidal positions (T,) -> (T, width): sines, then cosines, of wavelengths from 2 pi to 20,000 pi."""
    angles = positions[:, None] * _frequencies(width).to(positions.device)
    return torch.cat([angles.sin(), angles.cos()], -1)


def rotation(positions: Tensor, frequencies: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Rotary embedding as two factors (T, Q): of the row, and of the row with pairs swapped (`swap_pairs`).

    Args:
        positions: (T,)
        frequencies: (R / 2,) radians per frame; dimensions from R on are not rotated.
        width: Q.
    """
    angles = (positions[:, None] * frequencies).repeat_interleave(2, -1)  # (T, R)
    signs = torch.tensor([-1.0, 1.0], device=angles.device).repeat(len(frequencies))
    unrotated = (0, width - angles.shape[1])
    return F.pad(angles.cos(), unrotated, value=1.0), F.pad(angles.sin() * signs, unrotated)


def _frequencies(width: int) -> Tensor:
    """(width / 2,) radians per frame."""
    return 1.0 / (10_000 ** (torch.arange(0, width, 2, device="cpu").float() / width))
