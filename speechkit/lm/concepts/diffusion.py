"""The two-tower concept model: one tower encodes the concepts so far, the other denoises the next one.

Source: LCM team 2024 (Large Concept Models), section 2.3.

Notation used for tensor shapes: B documents, T positions, D concept width, W hidden width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechkit.lm.concepts.config import TowerConfig, TwoTowerConfig
from speechkit.lm.concepts.regression import squared_error
from speechkit.lm.concepts.tower import ConditionedTower, draw_blind
from speechkit.nn.diffusion import add_noise, denoise
from speechkit.nn.noise_schedule import signal_powers
from speechkit.nn.positions import sinusoidal

LEVEL_WIDTH = 256
"""Width of the sinusoidal embedding of a noise level."""


class TwoTower(nn.Module):
    """A diffusion model of the next concept, conditioned on the concepts before it."""

    def __init__(self, concept_width: int, tower: TowerConfig, config: TwoTowerConfig):
        super().__init__()
        self.config, self.concept_width = config, concept_width
        self.level = nn.Sequential(
            nn.Linear(LEVEL_WIDTH, tower.width), nn.SiLU(), nn.Linear(tower.width, tower.width), nn.SiLU()
        )
        self.tower = ConditionedTower(concept_width, tower, config.layers)
        self.out = nn.Linear(tower.width, concept_width)
        self.powers = signal_powers(config.schedule).tolist()
        """alpha^2 of every level; numbers, not a tensor, so that the precision of the weights does not change them."""

    def estimate_clean(self, noisy: Tensor, levels: Tensor, context: Tensor, blind: Tensor | None = None) -> Tensor:
        """Clean concepts (B, T, D) from noisy ones at levels (B, T), given context (B, T, W)."""
        shares = levels.flatten() / self.config.schedule.levels
        condition = self.level(sinusoidal(shares, LEVEL_WIDTH).to(noisy.dtype)).view(*levels.shape, -1)
        concepts: Tensor = self.out(self.tower(noisy, condition, context, blind))
        return concepts

    def loss(self, context: Tensor, concepts: Tensor, lengths: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Squared error of the estimated clean concept, at a random level for each position."""
        levels = torch.randint(len(self.powers), concepts.shape[:2], device=concepts.device)
        noisy = add_noise(concepts, torch.randn_like(concepts), concepts.new_tensor(self.powers)[levels])
        blind = draw_blind(lengths, concepts.shape[1], self.config.blind) if self.config.blind else None
        return squared_error(self.estimate_clean(noisy, levels, context, blind), concepts, lengths), {}

    def predict(self, context: Tensor, generator: torch.Generator) -> Tensor:
        """Sample the concept of each position given those before it: (B, T, W) -> (B, T, D).

        Noise is drawn on the CPU, so that a seed gives the same noise on every device.
        """
        batch, count, _ = context.shape
        noise = torch.randn(batch, count, self.concept_width, generator=generator).to(context)
        blind = torch.ones(batch, count, dtype=torch.bool, device=context.device)

        def denoiser(noisy: Tensor, level: int) -> tuple[Tensor, Tensor | None]:
            levels = torch.full((batch, count), level, device=context.device)
            conditional = self.estimate_clean(noisy, levels, context)
            if self.config.sampling.guidance == 1:
                return conditional, None
            return conditional, self.estimate_clean(noisy, levels, context, blind)

        return denoise(denoiser, noise, self.powers, self.config.sampling)
