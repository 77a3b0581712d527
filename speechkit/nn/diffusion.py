"""Denoising diffusion of vectors: forward noising, deterministic (DDIM) sampling, and classifier-free guidance.

x_t = alpha_t x0 + sigma_t noise with alpha^2 + sigma^2 = 1 over T levels; the network predicts x0.

Source: Ho et al. 2020; Song et al. 2021 (DDIM); Ho and Salimans 2022 (guidance); Lin et al. 2024 (rescaled guidance);
LCM team 2024, section 2.3.

Notation used for tensor shapes: … any, D width, T levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, finfo

from speechkit.nn.noise_schedule import SamplingSteps, sampling_levels

Denoiser = Callable[[Tensor, int], tuple[Tensor, Tensor | None]]
"""From noisy vectors (…, D) and their level to the predicted x0, conditional and, for guidance, unconditional."""


def add_noise(x0: Tensor, noise: Tensor, powers: Tensor) -> Tensor:
    """Noisy vectors x_t (…, D) at levels with alpha^2 ``powers`` (…,)."""
    powers = powers[..., None].to(x0.dtype)
    return powers.sqrt() * x0 + (1 - powers).sqrt() * noise


def guided_noise(conditional: Tensor, unconditional: Tensor, guidance: float, rescale: float) -> Tensor:
    """Classifier-free guidance of predicted noise (…, D), with rescaled standard deviation."""
    noise = unconditional + guidance * (conditional - unconditional)
    if not rescale:
        return noise
    deviation = noise.std(-1, keepdim=True)
    ratio = conditional.std(-1, keepdim=True) / deviation.clamp_min(finfo(deviation.dtype).tiny)
    return noise * (rescale * ratio + 1 - rescale)


def denoise(predict: Denoiser, noise: Tensor, powers: Sequence[float], config: SamplingSteps) -> Tensor:
    """Sample vectors (…, D) from noise (…, D) by deterministic DDIM steps.

    The last level has no signal, so its step uses the predicted x0 without guidance.

    Args:
        predict: see `Denoiser`.
        noise: standard normal.
        powers: alpha^2 of every level (T,).
        config: number of steps, and guidance.

    Raises:
        ConfigError: if there are more steps than levels.
    """
    levels = sampling_levels(len(powers), config.steps)
    x = config.initial_noise * noise
    for level, following in zip(levels, [*levels[1:], None], strict=True):
        alpha, sigma = float(powers[level]) ** 0.5, (1 - float(powers[level])) ** 0.5
        x0, unconditional = predict(x, level)
        predicted_noise = (x - alpha * x0) / sigma
        if unconditional is not None and config.guidance != 1 and alpha > 0:
            unconditional_noise = (x - alpha * unconditional) / sigma
            predicted_noise = guided_noise(predicted_noise, unconditional_noise, config.guidance, config.rescale)
            x0 = (x - sigma * predicted_noise) / alpha
        if following is None:
            return x0
        power = float(powers[following])
        x = power**0.5 * x0 + (1 - power) ** 0.5 * predicted_noise / config.noise_divisor
    raise AssertionError("unreachable: the last step returns")
