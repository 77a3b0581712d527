"""Training settings and learning rate schedule; loads no torch."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from speechkit.errors import ConfigError

Precision = Literal["no", "bf16", "auto"]
"""Precision of matrix products: float32, bfloat16, or bfloat16 if the device is faster with it."""


class TrainingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long and how to train.

    ``learning_rates`` has one peak per parameter group, in the order of the optimisers. The rate rises for
    ``warmup_steps`` and falls linearly to zero at ``steps``, or at ``max_minutes`` if that comes first, which makes
    the result depend on the machine.
    """

    steps: int = 1000
    max_minutes: float | None = None
    learning_rates: tuple[float, ...] = (1e-3,)
    warmup_steps: int = 100
    weight_decay: float = 0.01
    accumulation: int = 1
    clip_norm: float = 1.0
    average_decay: float = 0.998
    precision: Precision = "no"
    log_every: int = 25
    evaluate_every: int = 500
    save_every: int = 500
    keep_checkpoints: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)}, it must be at least 1"
            for name in ("steps", "accumulation", "log_every", "evaluate_every", "save_every", "keep_checkpoints")
            if getattr(self, name) < 1
        ]
        if not all(0 <= rate < math.inf for rate in self.learning_rates):
            wrong.append(f"learning_rates {self.learning_rates} must be finite and not negative")
        if self.max_minutes is not None and not self.max_minutes > 0:
            wrong.append(f"max_minutes is {self.max_minutes}, it must be above 0")
        wrong += [
            f"{name} is {getattr(self, name)}, it must be at least 0"
            for name in ("warmup_steps", "seed", "weight_decay")
            if not getattr(self, name) >= 0
        ]
        if not self.clip_norm > 0:
            wrong.append(f"clip_norm is {self.clip_norm}, it must be above 0")
        if not 0 <= self.average_decay < 1:
            wrong.append(f"average_decay is {self.average_decay}, it must be at least 0 and below 1")
        if wrong:
            raise ConfigError("; ".join(wrong))


def mixed_precision(precision: Precision, device: str) -> Literal["no", "bf16"]:
    """Resolve ``auto`` for a device; other values are unchanged."""
    if precision != "auto":
        return precision
    import torch

    from speechkit.runtime.device import autocast_dtype

    return "bf16" if autocast_dtype("cpu" if device == "cpu" else "cuda") == torch.bfloat16 else "no"


def rate_factor(config: TrainingConfig, step: int, seconds: float) -> float:
    """The share of the peak learning rate for the step after ``step`` steps and ``seconds`` of training."""
    done = step / config.steps
    if config.max_minutes is not None:
        done = max(done, seconds / (60 * config.max_minutes))
    rising = (step + 1) / config.warmup_steps if config.warmup_steps else 1.0
    return max(0.0, min(1.0, rising, 1.0 - done))
