"""Stop when a number has not improved for some evaluations, and restore the best weights."""

from __future__ import annotations

import math
from pathlib import Path

from torch import nn

from speechkit.errors import ConfigError, UserError
from speechkit.io.atomic import atomic_path

WORST = 1e30
"""Value of an evaluation that is not finite."""


class EarlyStopping:
    """Monitors one number of an objective's evaluations; the loop keeps its history in checkpoints.

    Args:
        measure: the number's name.
        patience: evaluations without a new best before training stops; 0 never stops, but the best weights are restored
            all the same.
        higher_is_better: for scores; not for losses.

    Attributes:
        history: the number at each evaluation.
    """

    def __init__(self, measure: str, patience: int, *, higher_is_better: bool = False):
        self.history: list[float] = []
        self._measure = measure
        self._patience = patience
        self._sign = -1.0 if higher_is_better else 1.0

    @property
    def _costs(self) -> list[float]:
        return [self._sign * value for value in self.history]

    @property
    def best(self) -> float | None:
        """The best number so far; None before the first."""
        return self._sign * min(self._costs) if self.history else None

    @property
    def should_stop(self) -> bool:
        """Whether there was no new best for ``patience`` evaluations."""
        if not self._patience or not self.history:
            return False
        costs = self._costs
        return len(costs) - 1 - costs.index(min(costs)) >= self._patience

    def update(self, values: dict[str, float], network: nn.Module, folder: Path) -> None:
        """Record an evaluation; the best weights so far are saved as ``folder/best.safetensors``.

        Raises:
            ConfigError: if it does not have the number.
        """
        from safetensors.torch import save_file

        if self._measure not in values:
            raise ConfigError(f"an evaluation has no {self._measure} for early stopping, but {', '.join(values)}")
        value = values[self._measure]
        value = value if math.isfinite(value) else self._sign * WORST
        if self._sign * value < min(self._costs, default=math.inf):
            state = {name: item.detach().cpu().contiguous().clone() for name, item in network.state_dict().items()}
            with atomic_path(folder / "best.safetensors") as working:
                save_file(state, working)
        self.history.append(value)

    def restore(self, network: nn.Module, folder: Path) -> None:
        """Restore the best weights.

        Raises:
            UserError: if they are not there.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = folder / "best.safetensors"
        try:
            network.load_state_dict(load_file(path))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{path}: cannot be read ({error}); train again in another folder") from error
