"""Restraint of an encoder's convolutions in pre-training: scaled gradients and an output penalty.

Both published recipes scale the gradients of the convolutions down and penalise large outputs. Otherwise features
become easy to predict instead of informative, and the codes collapse.

Source: Baevski et al. 2020, appendix B (gradients times 0.1, an L2 penalty on the output of the convolutions); same in
Hsu et al. 2021.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from speechkit.encoders.families.waveform import WaveformEncoder
from speechkit.errors import ConfigError
from speechkit.nn.masks import length_mask


class FeatureRestraint:
    """Scales the gradient that reaches an encoder's convolutions and measures the size of their output.

    Args:
        encoder: a hook is registered on its convolutions.
        gradient: factor of their gradients, above 0 and at most 1.
        penalty: weight of the mean square of their output, at least 0.

    Raises:
        ConfigError: if a number is out of its range.
    """

    def __init__(self, encoder: WaveformEncoder, gradient: float, penalty: float) -> None:
        if not 0 < gradient <= 1:
            raise ConfigError(f"feature_gradient is {gradient}; give a value above 0 and at most 1")
        if penalty < 0:
            raise ConfigError(f"feature_penalty is {penalty}; give a value of at least 0")
        self.penalty = penalty
        self._gradient = gradient
        self._last: Tensor | None = None
        encoder.network.feature_extractor.register_forward_hook(self._restrain)

    def _restrain(self, module: Any, arguments: Any, features: Tensor) -> Tensor:
        if self._gradient != 1:
            features = features * self._gradient + features.detach() * (1 - self._gradient)
        self._last = features if self.penalty else None
        return features

    def mean_square(self, frames: Tensor) -> Tensor:
        """Mean square of the convolutions' output (B, D, T) in the last batch, over the frames (B,) of its items."""
        if self._last is None:
            return torch.zeros((), device=frames.device)
        features, self._last = self._last.float(), None
        real = length_mask(frames, features.shape[-1])
        return features.square().mean(dim=1)[real].mean()
