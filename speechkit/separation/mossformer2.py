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
from speechkit.nn.activations import prelu
from speechkit.nn.depthwise import depthwise
from speechkit.nn.dropout import Dropout
from speechkit.nn.group_attention import gated_group_attention
from speechkit.nn.masks import padding_mask
from speechkit.nn.norms import channel_norm, item_norm, scale_norm
from speechkit.separation.filter_bank import synthesised
from speechkit.separation.model import Separator, SeparatorConfig, register


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
        self.filters_norm = nn.LayerNorm(filters)  # its parameters; the statistics are of whole items
        self.enter = nn.Linear(filters, width, bias=False)
        self.position_scale = nn.Parameter(torch.ones(1))
        self.frequencies = nn.Parameter(_frequencies(config.rotary), requires_grad=False)  # published so, and fixed
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.frame_norm = nn.LayerNorm(width, 1e-6)
        self.item_norm = nn.LayerNorm(width)
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
        kept = padding_mask(lengths, samples)  # (B, S)
        counts, longest = None, max(samples, kernel)
        if kept is not None and lengths is not None:
            mixture = mixture.masked_fill(~kept, 0.0)
            counts = (lengths - kernel).clamp(min=0) // hop + 1  # (B,) frames
            longest = (int(counts.max()) + 1) * hop
        mixture = F.pad(mixture, (0, longest - samples))
        with torch.autocast(mixture.device.type, enabled=False):  # half precision would put noise into the sound
            filtered = self.filters(mixture.float().unfold(1, kernel, hop)).relu()  # (B, T, F)
        valid = padding_mask(counts, filtered.shape[1])
        valid = None if valid is None else valid[:, :, None].float()  # (B, T, 1)
        masks = self.masks(filtered, valid, counts).float()  # (B, T, N, F)
        with torch.autocast(mixture.device.type, enabled=False):
            if self.config.multiplied:
                masks = masks * filtered[:, :, None]
            if valid is not None:
                masks = masks * valid[..., None]
            tracks = synthesised(self.synthesis(masks))  # (B, N, (T + 1) * hop)
        tracks = F.pad(tracks, (0, max(0, samples - tracks.shape[2])))[..., :samples]
        return tracks if kept is None else tracks * kept[:, None]

    def masks(self, filtered: Tensor, valid: Tensor | None = None, counts: Tensor | None = None) -> Tensor:
        """A mask for each speaker: (B, T, F), which frames are real (B, T, 1) and how many (B,), to (B, T, N, F)."""
        x = self.enter(item_norm(filtered, self.filters_norm.weight, self.filters_norm.bias, valid))
        positions = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
        x = x + sinusoids(positions, self.config.width) * self.position_scale
        skip = x = masked(x, valid)  # (B, T, D)
        turn = rotation(positions, self.frequencies, self.config.query_key)
        for block in self.blocks:
            if self.checkpointing and self.training and torch.is_grad_enabled():
                x = cast("Tensor", checkpoint(block, x, turn, valid, counts, use_reentrant=False))
            else:
                x = block(x, turn, valid, counts)
        x = item_norm(self.frame_norm(x), self.item_norm.weight, self.item_norm.bias, valid)
        x = prelu(x + skip, self.activation.weight)
        x = self.split(x).view(*x.shape[:2], self.speakers, -1)  # (B, T, N, D)
        value, gate = self.gates(x).chunk(2, -1)
        return cast("Tensor", self.leave(value.tanh() * gate.sigmoid()).relu())


class Block(nn.Module):
    """Attention, then recurrence; each adds to what it is given."""

    def __init__(self, config: MossFormer2Config):
        super().__init__()
        self.attention = GatedAttention(config)
        self.recurrence = GatedMemory(config)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], valid: Tensor | None, counts: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D); frames behind an item's end are zero in both."""
        kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        x = x + masked(self.attention(x.to(kind), turn, valid, counts), valid).to(x.dtype)
        return x + masked(self.recurrence(x.to(kind), valid), valid).to(x.dtype)


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
        self.scale = nn.Parameter(torch.randn(4, config.query_key, device="cpu") * 0.02)
        self.offset = nn.Parameter(torch.zeros(4, config.query_key))
        self.out_gain = nn.Parameter(torch.ones(1))
        self.leave = nn.Linear(hidden // 2, config.width)
        self.out_taps = Taps(config.width, config.taps)
        self.rotary = config.rotary
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], valid: Tensor | None, counts: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        shifted, stays = x.chunk(2, -1)
        x = torch.cat([F.pad(shifted, (0, 0, 1, -1)), stays], -1)
        gain = self.gain.repeat_interleave(torch.tensor(self.widths, device=x.device))[:, None]
        hidden = F.linear(scale_norm(x), self.enter.weight * gain, self.enter.bias)
        hidden = self.dropout(self.taps(F.silu(masked(hidden, valid))))
        values, query_key = hidden.split(self.widths, -1)  # (B, T, 2 H), (B, T, Q)
        local_query, global_query, local_key, global_key = self.heads(query_key, turn, valid)
        made = gated_group_attention(
            values.contiguous(),
            (local_query, global_query),
            (local_key, global_key),
            self.group,
            x.shape[1] if counts is None else counts,
            self.dropout if self.training and self.dropout.p else None,
        )
        made = F.linear(scale_norm(made), self.leave.weight * self.out_gain, self.leave.bias)
        return cast("Tensor", self.dropout(self.out_taps(F.silu(masked(made, valid)))))

    def heads(self, query_key: Tensor, turn: tuple[Tensor, Tensor], valid: Tensor | None) -> list[Tensor]:
        """Scaled, moved and turned by position: (B, T, Q) to four of it, keys zero where ``valid`` is."""
        cosine, sine = turn
        other = exchanged(query_key, self.rotary)
        made = []
        for index, (scale, offset) in enumerate(zip(self.scale, self.offset, strict=True)):
            constant = offset * cosine + exchanged(offset, self.rotary) * sine  # (T, Q)
            straight, across = scale * cosine, exchanged(scale, self.rotary) * sine
            constant, straight, across = (each.to(query_key.dtype) for each in (constant, straight, across))
            head = torch.addcmul(torch.addcmul(constant, query_key, straight), other, across)
            made.append(head if index < 2 else masked(head, valid))
        return made


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
        x = self.norm(prelu(self.enter(x), self.activation.weight))
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
            parts = made.view(*made.shape[:2], -1, self.below).unbind(-1)
            made = sum(parts[1:], parts[0])
        return prelu(channel_norm(made, self.norm_weight, self.norm_bias, valid), self.slope)


class Taps(nn.Module):
    """What it is given plus a depthwise convolution of it."""

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
    """(B, T, C) with zeros where ``valid`` (B, T, 1) is zero."""
    return frames if valid is None else frames * valid.to(frames.dtype)


def exchanged(x: Tensor, width: int) -> Tensor:
    """(…, Q) whose first ``width`` dimensions have changed places with their neighbours, in pairs."""
    pairs = x[..., :width].reshape(*x.shape[:-1], -1, 2).flip(-1).flatten(-2)
    return torch.cat([pairs, x[..., width:]], -1) if width < x.shape[-1] else pairs


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """(T,) -> (T, width): sines, then cosines, of wavelengths from 2 pi to 10,000 times that."""
    angles = positions[:, None] * _frequencies(width).to(positions.device)
    return torch.cat([angles.sin(), angles.cos()], -1)


def rotation(positions: Tensor, frequencies: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """What turns neighbouring dimensions in pairs: two factors (T, Q), of a row and of the row with pairs exchanged.

    Args:
        positions: (T,)
        frequencies: (R / 2,) radians a frame; the other dimensions stay.
        width: Q.
    """
    angles = (positions[:, None] * frequencies).repeat_interleave(2, -1)  # (T, R)
    signs = torch.tensor([-1.0, 1.0], device=angles.device).repeat(len(frequencies))
    stays = (0, width - angles.shape[1])
    return F.pad(angles.cos(), stays, value=1.0), F.pad(angles.sin() * signs, stays)


def _frequencies(width: int) -> Tensor:
    """(width / 2,) radians a frame."""
    return 1.0 / (10_000 ** (torch.arange(0, width, 2, device="cpu").float() / width))
