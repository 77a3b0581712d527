"""Stop when a number has not fallen for some evaluations, and go back to the best weights."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
from torch import nn

from speechkit.errors import UserError
from speechkit.io.atomic import atomic_path, write_json
from speechkit.training.checkpoint import latest_checkpoint

VALUES, WEIGHTS = "early_stopping.json", "best.safetensors"


class EarlyStopping:
    """Watches one number, the smaller the better, over the evaluations of `speechkit.training.train`.

    Call `look` inside ``evaluate`` and give `should_stop` to the loop; `restore` afterwards puts the best weights back.
    A run that goes on from its checkpoint forgets the looks behind it and repeats them.

    Args:
        folder: the run's folder; receives ``early_stopping.json`` and ``best.safetensors``.
        patience: so many looks without a new best end the run; 0 never ends it.
        evaluate_every: steps between two looks.
    """

    def __init__(self, folder: str | Path, patience: int, evaluate_every: int):
        self._folder = Path(folder)
        self._patience = patience
        checkpoint = latest_checkpoint(self._folder / "checkpoints")
        done = 0 if checkpoint is None else int(checkpoint.name.removeprefix("step-")) // evaluate_every
        path = self._folder / VALUES
        try:
            self.values = msgspec.json.decode(path.read_bytes(), type=list[float])[:done] if done else []
        except (OSError, msgspec.DecodeError) as error:
            raise UserError(f"{path}: cannot be read ({error}); begin the run in another folder") from error

    @property
    def best(self) -> float:
        """The smallest number so far; infinity before the first look."""
        return min(self.values, default=math.inf)

    @property
    def over(self) -> bool:
        """Whether patience is at its end."""
        if not self._patience or not self.values:
            return False
        return len(self.values) - 1 - self.values.index(self.best) >= self._patience

    def should_stop(self) -> bool:
        """For the loop."""
        return self.over

    def look(self, model: nn.Module, value: float) -> None:
        """Take in an evaluation; weights that are the best so far are kept. A number that is not finite is no best."""
        from safetensors.torch import save_file

        value = value if math.isfinite(value) else 1e30
        if value < self.best:
            with atomic_path(self._folder / WEIGHTS) as working:
                save_file({name: item.detach().cpu().contiguous().clone() for name, item in _state(model)}, working)
        self.values.append(value)
        write_json(self._folder / VALUES, self.values)

    def restore(self, model: nn.Module) -> None:
        """Put the best weights into the model, where there was a look."""
        from safetensors.torch import load_file

        if self.values:
            model.load_state_dict(load_file(self._folder / WEIGHTS))


def _state(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return list(model.state_dict().items())
