"""The two-tower concept model: one tower reads the concepts so far, the other makes the next one of noise.

Source: LCM team 2024 (Large Concept Models), section 2.3.

Notation used for tensor shapes: B documents, T places, D width of concepts, W width inside.
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
"""Sines and cosines that a level of noise is given as."""


class TwoTower(nn.Module):
    """A denoiser of the next concept that asks what is known before it."""

    def __init__(self, concept_width: int, tower: TowerConfig, config: TwoTowerConfig):
        super().__init__()
        self.config, self.concept_width = config, concept_width
        self.level = nn.Sequential(
            nn.Linear(LEVEL_WIDTH, tower.width), nn.SiLU(), nn.Linear(tower.width, tower.width), nn.SiLU()
        )
        self.tower = ConditionedTower(concept_width, tower, config.layers)
        self.out = nn.Linear(tower.width, concept_width)
        self.powers = signal_powers(config.schedule).tolist()
        """alpha^2 of every level, as exact in whatever precision the weights are."""

    def clean(self, noisy: Tensor, levels: Tensor, known: Tensor, blind: Tensor | None = None) -> Tensor:
        """The concepts (B, T, D) in noisy ones at levels (B, T), of what is known (B, T, W); see `ConditionedTower`."""
        shares = levels.flatten() / self.config.schedule.levels
        condition = self.level(sinusoidal(shares, LEVEL_WIDTH).to(noisy.dtype)).view(*levels.shape, -1)
        concepts: Tensor = self.out(self.tower(noisy, condition, known, blind))
        return concepts

    def loss(self, known: Tensor, concepts: Tensor, lengths: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Squared error of the concept in a noisy one, at a level drawn for each place."""
        levels = torch.randint(len(self.powers), concepts.shape[:2], device=concepts.device)
        noisy = add_noise(concepts, torch.randn_like(concepts), concepts.new_tensor(self.powers)[levels])
        blind = draw_blind(lengths, concepts.shape[1], self.config.blind) if self.config.blind else None
        return squared_error(self.clean(noisy, levels, known, blind), concepts, lengths), {}

    def foresee(self, known: Tensor, generator: torch.Generator) -> Tensor:
        """(B, T, W) -> a draw of the concept of each place given those before it: (B, T, D).

        Noise is drawn on the processor, so that a seed means the same everywhere.
        """
        batch, places, _ = known.shape
        noise = torch.randn(batch, places, self.concept_width, generator=generator).to(known)
        everywhere = torch.ones(batch, places, dtype=torch.bool, device=known.device)

        def foresee(noisy: Tensor, level: int) -> tuple[Tensor, Tensor | None]:
            levels = torch.full((batch, places), level, device=known.device)
            with_context = self.clean(noisy, levels, known)
            if self.config.sampling.guidance == 1:
                return with_context, None
            return with_context, self.clean(noisy, levels, known, everywhere)

        return denoise(foresee, noise, self.powers, self.config.sampling)
