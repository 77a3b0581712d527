"""Denoising diffusion of vectors: noise, deterministic steps back, guidance.

A vector x0 becomes x_t = alpha_t x0 + sigma_t noise, alpha^2 + sigma^2 = 1, over T levels; a network foresees x0.

Source: Ho et al. 2020; Song et al. 2021 (DDIM); Ho and Salimans 2022 (guidance); Lin et al. 2024 (rescaled guidance);
LCM team 2024, section 2.3.

Notation used for tensor shapes: … any, D width, T levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, finfo

from speechkit.nn.noise_schedule import SamplingSteps, sampling_levels

Foresight = Callable[[Tensor, int], tuple[Tensor, Tensor | None]]
"""Noisy vectors (…, D) and their level to x0 with the condition, and x0 without it where guidance asks for it."""


def with_noise(x0: Tensor, noise: Tensor, powers: Tensor) -> Tensor:
    """x_t of vectors (…, D), each at a level whose alpha^2 is given (…,)."""
    powers = powers[..., None].to(x0.dtype)
    return powers.sqrt() * x0 + (1 - powers).sqrt() * noise


def guided_noise(conditional: Tensor, unconditional: Tensor, guidance: float, rescale: float) -> Tensor:
    """Noise (…, D) that goes ``guidance`` times from the unconditional to the conditional, with its spread rescaled."""
    noise = unconditional + guidance * (conditional - unconditional)
    if not rescale:
        return noise
    spread = noise.std(-1, keepdim=True)
    ratio = conditional.std(-1, keepdim=True) / spread.clamp_min(finfo(spread.dtype).tiny)
    return noise * (rescale * ratio + 1 - rescale)


def denoise(foresee: Foresight, noise: Tensor, powers: Sequence[float], config: SamplingSteps) -> Tensor:
    """Carry noise (…, D) to vectors (…, D) by DDIM steps without fresh noise.

    The last level has no signal: noise there says nothing of x0, so that its step takes x0 as foreseen, unguided.

    Args:
        foresee: see `Foresight`.
        noise: standard normal.
        powers: alpha^2 of every level (T,).
        config: how many steps, and their guidance.

    Raises:
        ConfigError: if there are more steps than levels.
    """
    levels = sampling_levels(len(powers), config.steps)
    x = config.initial_noise * noise
    for level, following in zip(levels, [*levels[1:], None], strict=True):
        alpha, sigma = float(powers[level]) ** 0.5, (1 - float(powers[level])) ** 0.5
        x0, unconditional = foresee(x, level)
        foreseen = (x - alpha * x0) / sigma
        if unconditional is not None and config.guidance != 1 and alpha > 0:
            foreseen = guided_noise(foreseen, (x - alpha * unconditional) / sigma, config.guidance, config.rescale)
            x0 = (x - sigma * foreseen) / alpha
        if following is None:
            return x0
        power = float(powers[following])
        x = power**0.5 * x0 + (1 - power) ** 0.5 * foreseen / config.noise_divisor
    raise AssertionError("there is a last step")
