"""Conv-TasNet: dilated depthwise convolutions mask a learnt filter bank; the baseline of time-domain separation.

Source: Luo and Mesgarani 2019, "Conv-TasNet: Surpassing Ideal Time-Frequency Magnitude Masking for Speech Separation",
non-causal. `base` is torchaudio's `conv_tasnet_base` and gives the same tracks.

Notation used for tensor shapes: B items, S samples, T frames, N speakers, F filters, D width, H hidden width.
"""

from __future__ import annotations

from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from msgspec.structs import replace
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechkit.errors import ConfigError
from speechkit.nn.activations import prelu
from speechkit.nn.depthwise import DepthwiseConv
from speechkit.nn.masks import padding_mask
from speechkit.nn.norms import item_norm
from speechkit.separation.filter_bank import overlap_add
from speechkit.separation.model import Separator, SeparatorConfig, register


class ConvTasNetConfig(SeparatorConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="conv-tasnet"):
    """Configuration of a Conv-TasNet.

    Attributes:
        filters: filters of the learnt filter bank, F.
        kernel: frame length in samples; the hop is half of it.
        width: bottleneck width, D.
        hidden: hidden width of a block, H.
        taps: kernel size of the depthwise convolutions.
        layers: blocks per stack; the dilation doubles from block to block.
        stacks: number of stacks.
        mask: activation of the masks.
    """

    filters: int = 512
    kernel: int = 16
    width: int = 128
    hidden: int = 512
    taps: int = 3
    layers: int = 8
    stacks: int = 3
    mask: Literal["relu", "sigmoid"] = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 or self.taps % 2 == 0:
            raise ConfigError(
                f"conv-tasnet separator: kernel is {self.kernel} and taps {self.taps}; make kernel even and taps odd"
            )


BASE = ConvTasNetConfig()
TINY = ConvTasNetConfig(filters=128, kernel=32, width=96, hidden=256, layers=6, stacks=2)

SIZES = {
    "tiny": TINY,
    "base": BASE,
    # The same frame rate, with frames of twice the samples.
    "tiny-16k": replace(TINY, sample_rate=16_000, kernel=2 * TINY.kernel),
    "base-16k": replace(BASE, sample_rate=16_000, kernel=2 * BASE.kernel),
}


@register(SIZES)
class ConvTasNet(Separator):
    """Masks over a learnt filter bank; see the module."""

    config_type: ClassVar[type[SeparatorConfig]] = ConvTasNetConfig

    def __init__(self, config: ConvTasNetConfig):
        super().__init__(config)
        filters, width = config.filters, config.width
        self.filters = nn.Linear(config.kernel, filters, bias=False)
        self.norm = nn.LayerNorm(filters)  # holds the parameters only; statistics are over whole items
        self.input_proj = nn.Linear(filters, width)
        last = config.stacks * config.layers - 1
        self.blocks = nn.ModuleList(
            Block(config, 2 ** (index % config.layers), last=index == last) for index in range(last + 1)
        )
        self.slope = nn.Parameter(torch.tensor([0.25]))
        self.output_proj = nn.Linear(width, filters * config.speakers)
        self.synthesis = nn.Linear(filters, config.kernel, bias=False)
        nn.init.uniform_(self.synthesis.weight, -(config.kernel**-0.5), config.kernel**-0.5)  # as ConvTranspose1d

    @property
    def hop(self) -> int:
        """See `Separator`."""
        return int(self.config.kernel) // 2

    def forward(self, mixture: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See `Separator`."""
        hop, samples = self.hop, mixture.shape[1]
        kept = padding_mask(lengths, samples)  # (B, S)
        counts = None
        if kept is not None and lengths is not None:
            mixture = mixture.masked_fill(~kept, 0.0)
            counts = -(-lengths // hop) + 1  # (B,) frames
        mixture = F.pad(mixture, (hop, hop + -samples % hop))
        with torch.autocast(mixture.device.type, enabled=False):  # half precision would add audible noise
            filtered = self.filters(mixture.float().unfold(1, self.config.kernel, hop))  # (B, T, F)
        valid = padding_mask(counts, filtered.shape[1])
        valid = None if valid is None else valid[:, :, None].float()  # (B, T, 1)
        masks = self.masks(filtered, valid).float()  # (B, T, N, F)
        with torch.autocast(mixture.device.type, enabled=False):
            masks = masks * filtered[:, :, None]
            if valid is not None:
                masks = masks * valid[..., None]
            tracks = overlap_add(self.synthesis(masks))[..., hop : hop + samples]
        return tracks if kept is None else tracks * kept[:, None]

    def masks(self, filtered: Tensor, valid: Tensor | None = None) -> Tensor:
        """Masks (B, T, N, F) per speaker from filter outputs (B, T, F); ``valid`` (B, T, 1) marks real frames."""
        x = self.input_proj(item_norm(filtered, self.norm.weight, self.norm.bias, valid))
        skips = torch.zeros_like(x)
        for block in self.blocks:
            if self.checkpointing and self.training and torch.is_grad_enabled():
                x, skips = checkpoint(block, x, skips, valid, use_reentrant=False)
            else:
                x, skips = block(x, skips, valid)
        x = self.output_proj(prelu(skips, self.slope)).view(*x.shape[:2], self.speakers, -1)
        return cast("Tensor", x.relu() if self.config.mask == "relu" else x.sigmoid())


class Block(nn.Module):
    """Inverted bottleneck with a dilated depthwise convolution, and residual and skip outputs."""

    def __init__(self, config: ConvTasNetConfig, dilation: int, *, last: bool):
        super().__init__()
        hidden, width = config.hidden, config.width
        self.input_proj = nn.Linear(width, hidden)
        # Parameters of the PReLU and the norm before the convolution, and after it.
        self.slopes = nn.Parameter(torch.full((2, 1), 0.25))
        self.norms_weight, self.norms_bias = nn.Parameter(torch.ones(2, hidden)), nn.Parameter(torch.zeros(2, hidden))
        self.taps = DepthwiseConv(hidden, config.taps, dilation)
        self.bias = nn.Parameter(torch.empty(hidden).uniform_(-(config.taps**-0.5), config.taps**-0.5))
        # Residual and skip outputs; the last block has only a skip output.
        self.output_proj = nn.Linear(hidden, width if last else 2 * width)

    def forward(self, x: Tensor, skips: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Input and sum of skip outputs so far, (B, T, D) each -> the same after this block."""
        hidden = self.input_proj(x)
        hidden = item_norm(prelu(hidden, self.slopes[0]), self.norms_weight[0], self.norms_bias[0], valid)
        hidden = self.taps(hidden) + self.bias.to(hidden.dtype)
        hidden = item_norm(prelu(hidden, self.slopes[1]), self.norms_weight[1], self.norms_bias[1], valid)
        *residual, skip = self.output_proj(hidden).split(x.shape[2], -1)
        return x + residual[0] if residual else x, skips + skip
