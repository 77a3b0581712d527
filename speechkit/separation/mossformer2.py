"""MossFormer2: gated local and global attention, and a recurrence without recurrent layers, over frames of a waveform.

Source: Zhao et al. 2024, "MossFormer2: Combining Transformer and RNN-free Recurrent Network for Enhanced Time-Domain
Monaural Speech Separation". `large` is the published network to the last weight (`published.py` reads its checkpoints);
what is computed is the same, in another order: maps that share their input are one product of matrices, gains of norms
and the identity beside a convolution are folded into weights, and a frame is a row in memory throughout.

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
from speechkit.nn.depthwise import depthwise
from speechkit.nn.dropout import Dropout
from speechkit.separation.model import Separator, SeparatorConfig, inside, register

TINY = 1e-8
"""Added to the variance by the two norms over whole items."""


class MossFormer2Config(SeparatorConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="mossformer2"):
    """Everything that rebuilds the network.

    Attributes:
        filters: F, of the learnt filter bank.
        kernel: samples of a frame; frames are half as far apart.
        width: D.
        blocks: pairs of attention and recurrence.
        expansion: hidden width of attention, as a multiple of ``width``: half of it are values, half are gates.
        query_key: Q.
        rotary: dimensions of queries and keys that are turned by position.
        group: G, frames of the local attention.
        taps: of the convolutions behind linear maps.
        memory: M.
        memory_taps: of the memory's convolutions.
        memory_layers: of the memory; the dilation doubles from one to the next.
        dropout: while training.
        multiplied: whether the mask multiplies the filter bank's output; the published network for WHAMR! gives it
            out as it is.
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
                f"mossformer2 separator: rotary is {self.rotary} and query_key {self.query_key}; turn no more "
                "dimensions than there are"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"mossformer2 separator: dropout is {self.dropout}; give 0 or more, and less than 1")


LARGE = MossFormer2Config()
TINY_8K = MossFormer2Config(
    filters=128,
    kernel=32,
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
    # The same frames a second, of twice the samples; the published network at 16 kHz has twice the frames.
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
        self.filters_norm = nn.LayerNorm(filters, TINY)  # its parameters; the statistics are of whole items
        self.enter = nn.Linear(filters, width, bias=False)
        self.position_scale = nn.Parameter(torch.ones(1))
        self.frequencies = nn.Parameter(_frequencies(config.rotary), requires_grad=False)  # published so, and fixed
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.frame_norm = nn.LayerNorm(width, 1e-6)
        self.item_norm = nn.LayerNorm(width, TINY)
        self.activation = nn.PReLU()
        self.split = nn.Linear(width, width * speakers)
        self.gates = nn.Linear(width, 2 * width)
        self.leave = nn.Linear(width, filters, bias=False)
        self.synthesis = nn.Linear(filters, config.kernel, bias=False)
        nn.init.uniform_(self.synthesis.weight, -(config.kernel**-0.5), config.kernel**-0.5)  # as ConvTranspose1d

    @property
    def hop(self) -> int:
        """See `Separator`."""
        return int(self.config.kernel) // 2

    def forward(self, mixture: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See `Separator`; the last ``hop`` - 1 samples or fewer, where no whole frame fits, are zero."""
        kernel, hop, samples = self.config.kernel, self.hop, mixture.shape[1]
        kept = inside(lengths, samples)  # (B, S)
        counts, longest = None, max(samples, kernel)
        if kept is not None and lengths is not None:
            mixture = mixture.masked_fill(~kept, 0.0)
            counts = (lengths - kernel).clamp(min=0) // hop + 1  # (B,) frames
            longest = (int(counts.max()) + 1) * hop
        mixture = F.pad(mixture, (0, longest - samples))
        with torch.autocast(mixture.device.type, enabled=False):  # half precision would put noise into the sound
            filtered = self.filters(mixture.float().unfold(1, kernel, hop)).relu()  # (B, T, F)
        valid = inside(counts, filtered.shape[1])
        valid = None if valid is None else valid[:, :, None]  # (B, T, 1)
        masks = self.masks(filtered, valid, counts).float()  # (B, T, N, F)
        with torch.autocast(mixture.device.type, enabled=False):
            if self.config.multiplied:
                masks = masks * filtered[:, :, None]
            if valid is not None:
                masks = masks * valid[..., None]
            first, second = self.synthesis(masks).transpose(1, 2).chunk(2, -1)  # (B, N, T, hop) each
        tracks = F.pad(first, (0, 0, 0, 1)) + F.pad(second, (0, 0, 1, 0))
        tracks = tracks.flatten(2)  # (B, N, (T + 1) * hop)
        tracks = F.pad(tracks, (0, max(0, samples - tracks.shape[2])))[..., :samples]
        return tracks if kept is None else tracks * kept[:, None]

    def masks(self, filtered: Tensor, valid: Tensor | None = None, counts: Tensor | None = None) -> Tensor:
        """A mask for each speaker: (B, T, F), which frames are real (B, T, 1) and how many (B,), to (B, T, N, F)."""
        x = self.enter(item_norm(filtered, self.filters_norm, valid))
        positions = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
        x = x + sinusoids(positions, self.config.width) * self.position_scale
        skip = x = masked(x, valid)  # (B, T, D)
        turn = rotation(positions, self.frequencies)
        for block in self.blocks:
            if self.checkpointing and self.training and torch.is_grad_enabled():
                x = cast("Tensor", checkpoint(block, x, turn, valid, counts, use_reentrant=False))
            else:
                x = block(x, turn, valid, counts)
        x = self.activation(item_norm(self.frame_norm(x), self.item_norm, valid) + skip)
        x = self.split(x).view(*x.shape[:2], self.speakers, -1)  # (B, T, N, D)
        value, gate = self.gates(x).chunk(2, -1)
        return cast("Tensor", self.leave(value.tanh() * gate.sigmoid()).relu())


class Block(nn.Module):
    """Attention, then recurrence; each adds to what it is given."""

    def __init__(self, config: MossFormer2Config):
        super().__init__()
        self.attention = GatedAttention(config)
        self.recurrence = GatedMemory(config)

    def forward(self, x: Tensor, turn: Tensor, valid: Tensor | None, counts: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D); frames behind an item's end are zero in both."""
        x = x + masked(self.attention(x, turn, valid, counts), valid)
        return x + masked(self.recurrence(x, valid), valid)


class GatedAttention(nn.Module):
    """One head of attention whose values gate one another: squared ReLU inside groups, linear over the whole item."""

    def __init__(self, config: MossFormer2Config):
        super().__init__()
        hidden, self.group = config.width * config.expansion, config.group
        widths = (hidden, config.query_key)
        self.widths = widths
        self.gain = nn.Parameter(torch.ones(2))  # of the norm before the hidden units, and before queries and keys
        self.enter = nn.Linear(config.width, sum(widths))
        self.taps = Taps(sum(widths), config.taps)
        # Of local queries, global queries, local keys, global keys.
        self.scale = nn.Parameter(torch.randn(4, config.query_key) * 0.02)
        self.offset = nn.Parameter(torch.zeros(4, config.query_key))
        self.out_gain = nn.Parameter(torch.ones(1))
        self.leave = nn.Linear(hidden // 2, config.width)
        self.out_taps = Taps(config.width, config.taps)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, turn: Tensor, valid: Tensor | None, counts: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        shifted, stays = x.chunk(2, -1)
        x = torch.cat([F.pad(shifted, (0, 0, 1, -1)), stays], -1)
        gain = self.gain.repeat_interleave(torch.tensor(self.widths, device=x.device))[:, None]
        hidden = F.linear(scale_norm(x), self.enter.weight * gain, self.enter.bias)
        hidden = self.dropout(self.taps(F.silu(masked(hidden, valid))))
        values, query_key = hidden.split(self.widths, -1)  # (B, T, 2 H), (B, T, Q)
        attended = self.attend(values, query_key, turn, valid, counts)
        made = gated(attended, values)  # (B, T, H)
        made = F.linear(scale_norm(made), self.leave.weight * self.out_gain, self.leave.bias)
        return cast("Tensor", self.dropout(self.out_taps(F.silu(masked(made, valid)))))

    def attend(
        self, values: Tensor, query_key: Tensor, turn: Tensor, valid: Tensor | None, counts: Tensor | None
    ) -> Tensor:
        """Values (B, T, 2 H) by what queries and keys (B, T, Q) say: (B, T, 2 H)."""
        frames, group = values.shape[1], min(self.group, values.shape[1])
        scale, offset = self.scale, self.offset
        heads = turned(query_key[:, :, None] * scale + offset, turn)  # (B, T, 4, Q)
        local_query, global_query, local_key, global_key = masked_heads(heads, valid).to(values.dtype).unbind(2)
        number = frames if counts is None else counts[:, None, None]
        memory = (global_key / number).to(values.dtype).mT @ values  # (B, Q, 2 H)
        pad = -frames % group
        local_query, local_key, local_values = (
            F.pad(each, (0, 0, 0, pad)).reshape(len(each), -1, group, each.shape[2])
            for each in (local_query, local_key, values)
        )
        weights = (local_query / self.group @ local_key.mT).relu().square()  # (B, T / G, G, G)
        local = self.dropout(weights) @ local_values
        return cast("Tensor", local.flatten(1, 2)[:, :frames] + global_query @ memory)


class GatedMemory(nn.Module):
    """What stands for a recurrence: a feed-forward sequential memory of dense dilated convolutions, and a gate."""

    def __init__(self, config: MossFormer2Config):
        super().__init__()
        memory = config.memory
        self.enter = nn.Linear(config.width, memory)
        self.activation = nn.PReLU()
        self.norm = nn.LayerNorm(memory)
        # The affine parts of a norm before each half of `halves`, what is remembered and its gate.
        self.halves_weight, self.halves_bias = nn.Parameter(torch.ones(2, memory)), nn.Parameter(torch.zeros(2, memory))
        self.halves = nn.Linear(memory, 2 * memory)
        self.taps = Taps(2 * memory, config.taps)
        self.widen = nn.Linear(memory, memory)
        self.project = nn.Linear(memory, memory, bias=False)
        self.layers = nn.ModuleList(
            MemoryLayer(memory, config.memory_taps, layer) for layer in range(config.memory_layers)
        )
        self.out_norm = nn.LayerNorm(memory)
        self.leave = nn.Linear(memory, config.width)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = self.norm(self.activation(self.enter(x)))
        weight = self.halves.weight.view(2, *self.widen.weight.shape)  # (2, M, M)
        bias = self.halves.bias + (weight @ self.halves_bias[..., None]).flatten()
        weight = (weight * self.halves_weight[:, None]).flatten(0, 1)
        halves = F.linear(F.layer_norm(x, x.shape[-1:], eps=self.norm.eps), weight, bias)
        halves = self.dropout(self.taps(F.silu(masked(halves, valid))))
        kept, gate = halves.chunk(2, -1)
        remembered = masked(self.project(self.widen(kept).relu()), valid)
        all_so_far = out = remembered
        for layer in self.layers:
            out = layer(all_so_far, valid)
            all_so_far = torch.cat([out, all_so_far], -1)
        x = self.out_norm(gate * (kept + out) + x)
        return cast("Tensor", self.leave(x))


class MemoryLayer(nn.Module):
    """A dilated convolution over all layers below, normalised over the item.

    As published, channel c is made of the c-th group of neighbouring channels of the layers below laid side by side,
    not of the c-th channel of each.
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
        made = depthwise(below, self.weight.flatten(0, 1), self.dilation)
        if self.below > 1:
            made = made.view(*made.shape[:2], -1, self.below).sum(-1)
        made = channel_norm(made, self.norm_weight, self.norm_bias, valid)
        return masked(torch.where(made > 0, made, made * self.slope.to(made.dtype)), valid)


class Taps(nn.Module):
    """What it is given plus a depthwise convolution of it."""

    identity: Tensor

    def __init__(self, channels: int, taps: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, taps))
        nn.init.uniform_(self.weight, -(taps**-0.5), taps**-0.5)
        self.register_buffer("identity", F.one_hot(torch.tensor(taps // 2), taps).float(), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return depthwise(frames, self.weight + self.identity)


def masked(frames: Tensor, valid: Tensor | None) -> Tensor:
    """(B, T, C) with zeros where ``valid`` (B, T, 1) is false."""
    return frames if valid is None else frames * valid


def masked_heads(heads: Tensor, valid: Tensor | None) -> Tensor:
    """(B, T, heads, Q) with zeros where ``valid`` (B, T, 1) is false."""
    return heads if valid is None else heads * valid[..., None]


def gated(attended: Tensor, values: Tensor) -> Tensor:
    """Attended values and gates (B, T, 2 H), and those that they were made of, to (B, T, H)."""
    attended_value, attended_gate = attended.chunk(2, -1)
    value, gate = values.chunk(2, -1)
    return attended_gate * value * (attended_value * gate).sigmoid()


def scale_norm(x: Tensor) -> Tensor:
    """Rows (…, D) divided by their root mean square, or by 1e-5 where that is smaller."""
    mean_square = x.float().square().mean(-1, keepdim=True)
    return x * mean_square.clamp_min(1e-10).rsqrt().to(x.dtype)


def item_norm(x: Tensor, affine: nn.LayerNorm, valid: Tensor | None) -> Tensor:
    """(B, T, C) with mean 0 and variance 1 over the real frames and all channels of an item, and a gain a channel."""
    x = x.float()
    if valid is None:
        variance, mean = torch.var_mean(x, (1, 2), correction=0, keepdim=True)
    else:
        number = valid.sum(1, keepdim=True) * x.shape[2]  # (B, 1, 1)
        mean = (x * valid).sum((1, 2), keepdim=True) / number
        variance = ((x - mean).square() * valid).sum((1, 2), keepdim=True) / number
    scale = (variance + affine.eps).rsqrt() * affine.weight
    return (x - mean) * scale + affine.bias


def channel_norm(x: Tensor, weight: Tensor, bias: Tensor, valid: Tensor | None) -> Tensor:
    """(B, T, C) with mean 0 and variance 1 over the real frames of each channel, and a gain a channel."""
    kept, x = x.dtype, x.float()
    if valid is None:
        variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
    else:
        number = valid.sum(1, keepdim=True)  # (B, 1, 1)
        mean = (x * valid).sum(1, keepdim=True) / number
        variance = ((x - mean).square() * valid).sum(1, keepdim=True) / number
    scale = (variance + 1e-5).rsqrt() * weight
    return torch.addcmul(bias - mean * scale, x, scale).to(kept)


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """(T,) -> (T, width): sines, then cosines, of wavelengths from 2 pi to 10,000 times that."""
    angles = positions[:, None] * _frequencies(width).to(positions.device)
    return torch.cat([angles.sin(), angles.cos()], -1)


def rotation(positions: Tensor, frequencies: Tensor) -> Tensor:
    """(T,), (R / 2,) -> (2, T, 1, R / 2): cosines and sines of angles by which neighbouring dimensions are turned."""
    angles = (positions[:, None] * frequencies)[:, None]
    return torch.stack([angles.cos(), angles.sin()])


def turned(heads: Tensor, turn: Tensor) -> Tensor:
    """(B, T, heads, Q) with the first dimensions turned in pairs, by `rotation`."""
    cosine, sine = turn
    pairs = heads[..., : 2 * cosine.shape[-1]].reshape(*heads.shape[:3], -1, 2)
    first, second = pairs.unbind(-1)
    pairs = torch.stack([first * cosine - second * sine, second * cosine + first * sine], -1)
    return torch.cat([pairs.flatten(-2), heads[..., 2 * cosine.shape[-1] :]], -1)


def _frequencies(width: int) -> Tensor:
    """(width / 2,) radians a frame."""
    return 1.0 / (10_000 ** (torch.arange(0, width, 2).float() / width))
