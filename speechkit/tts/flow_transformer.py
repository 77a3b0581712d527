"""A transformer that predicts the flow-matching velocity, conditioned on text, frames and a speaker.

Text is appended to the frames in one sequence, without an alignment: its positions are stretched over those of the
frames, so that attention starts near where a symbol is spoken. Frame-level conditions, such as units, are added to the
frames.

Notation used for tensor shapes: B batch, T frames, D width of a frame, L symbols, W width of the transformer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from speechkit.nn.flow_matching import guided, item_noise, solve, velocity_loss, velocity_to
from speechkit.nn.masks import length_mask
from speechkit.nn.positions import sinusoidal
from speechkit.nn.transformer import Transformer
from speechkit.tts.flow_config import FlowConfig, SamplingConfig

TIME_WIDTH = 128


@dataclass(frozen=True)
class Conditions:
    """Conditions of a batch; those that the network does not have are None.

    Attributes:
        text: (B, L, W).
        text_lengths: (B,).
        frames: (B, T, W), added to the frames.
        speaker: (B, W).
        kept: (B,), False for items whose conditions are dropped; None keeps all.
    """

    text: Tensor | None = None
    text_lengths: Tensor | None = None
    frames: Tensor | None = None
    speaker: Tensor | None = None
    kept: Tensor | None = None


class FlowTransformer(nn.Module):
    """Predicts the velocity at points of the flow, given their times and conditions."""

    def __init__(self, config: FlowConfig, dim: int):
        super().__init__()
        self.config, self.dim = config, dim
        width = config.width
        self.input = nn.Linear(dim, width)
        self.local = nn.Conv1d(width, width, config.kernel, padding=config.kernel // 2, groups=width)
        self.time = nn.Sequential(nn.Linear(TIME_WIDTH, width), nn.SiLU(), nn.Linear(width, width))
        self.is_text = nn.Parameter(torch.zeros(width))
        self.nothing = nn.Parameter(0.02 * torch.randn(3, width))  # instead of text, frames, speaker
        self.transformer = Transformer(
            width, config.layers, config.heads, config.feed_width, config.kernel, width, config.dropout
        )
        self.output = nn.Linear(width, dim)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, points: Tensor, time: Tensor, lengths: Tensor, conditions: Conditions) -> Tensor:
        """Points (B, T, D), times (B,) and lengths (B,) -> velocities (B, T, D)."""
        conditions = self._dropped(conditions)
        frames = points.shape[1]
        inside = length_mask(lengths, frames)
        keep = inside[..., None].to(points.dtype)
        x = self.input(points)
        if conditions.frames is not None:
            x = x + conditions.frames
        x = x * keep
        x = x + self.local(x.transpose(1, 2)).transpose(1, 2)
        positions = torch.arange(frames, device=x.device) + 0.5
        condition = self.time(sinusoidal(time, TIME_WIDTH).to(x.dtype))
        if conditions.speaker is not None:
            condition = condition + conditions.speaker
        if conditions.text is not None and conditions.text_lengths is not None:
            x, inside, positions = self._with_text(x, inside, lengths, conditions.text, conditions.text_lengths)
        output: Tensor = self.output(self.transformer(x, inside, condition, positions)[:, :frames])
        return output if self.config.prediction == "velocity" else velocity_to(output, points, time)

    def _with_text(
        self, x: Tensor, inside: Tensor, lengths: Tensor, text: Tensor, text_lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Append text to the frames; returns the sequence, its mask and its positions.

        A gap of padding keeps the convolutions from mixing frames and text.
        """
        gap = self.config.kernel // 2
        ordinals = torch.arange(text.shape[1], device=x.device) + 0.5
        stretched = ordinals[None] * (lengths / text_lengths.clamp_min(1))[:, None]  # (B, L)
        positions = torch.arange(x.shape[1] + gap, device=x.device).add(0.5).expand(len(x), -1)
        return (
            torch.cat([F.pad(x, (0, 0, 0, gap)), text + self.is_text], 1),
            torch.cat([F.pad(inside, (0, gap)), length_mask(text_lengths, text.shape[1])], 1),
            torch.cat([positions, stretched], 1),
        )

    def _dropped(self, conditions: Conditions) -> Conditions:
        """Conditions with learnt null vectors in place of those that are dropped."""
        if conditions.kept is None:
            return conditions

        def chosen(condition: Tensor | None, null: Tensor) -> Tensor | None:
            if condition is None:
                return None
            kept = conditions.kept.view(-1, *[1] * (condition.dim() - 1))  # type: ignore[union-attr]
            return torch.where(kept, condition, null.to(condition.dtype))

        return replace(
            conditions,
            text=chosen(conditions.text, self.nothing[0]),
            frames=chosen(conditions.frames, self.nothing[1]),
            speaker=chosen(conditions.speaker, self.nothing[2]),
            kept=None,
        )


def flow_loss(
    network: FlowTransformer, data: Tensor, lengths: Tensor, conditions: Conditions, drop: float = 0.0
) -> Tensor:
    """Velocity loss at random times and noise; ``drop`` is the share of items without condition."""
    items = len(data)
    # Stratified times, one in each of B equal intervals: the loss varies less than with independent times.
    time = ((torch.rand(1, device=data.device) + torch.arange(items, device=data.device) / items) % 1.0)[
        torch.randperm(items, device=data.device)
    ]
    if drop:
        conditions = replace(conditions, kept=torch.rand(items, device=data.device) >= drop)
    velocity = partial(network, lengths=lengths, conditions=conditions)
    return velocity_loss(velocity, data, lengths, torch.randn_like(data), time)


@torch.no_grad()
def sample_frames(
    network: FlowTransformer,
    lengths: Sequence[int],
    conditions: Conditions,
    sampling: SamplingConfig,
    seeds: Sequence[int],
) -> Tensor:
    """Sample frames (B, T, D); each item depends only on its own condition, length and seed."""
    device = next(network.parameters()).device
    noise = sampling.temperature * item_noise(seeds, lengths, network.dim).to(device)
    frames = torch.tensor(lengths, device=device)
    unconditional = replace(conditions, kept=torch.zeros(len(noise), dtype=torch.bool, device=device))
    velocity = guided(
        partial(network, lengths=frames, conditions=conditions),
        partial(network, lengths=frames, conditions=unconditional),
        sampling.guidance,
    )
    return solve(velocity, noise, sampling.steps, sampling.solver, sampling.sway)
