"""Checkpoints: a folder of safetensors and JSON that appears by one rename. No pickle is written or read."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from speechkit.errors import UserError
from speechkit.io.atomic import write_json

_NAME = re.compile(r"step-(\d{8})\Z")


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a run stands: steps done, next micro-batch, seconds spent, and what the schedule had then."""

    step: int
    next_batch: int
    seconds: float
    config: dict[str, Any]


def latest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint with the highest step, or None."""
    found = [path for path in folder.glob("step-*") if _NAME.match(path.name) and (path / "progress.json").is_file()]
    return max(found, key=lambda path: path.name, default=None)


def save_checkpoint(
    folder: Path,
    progress: Progress,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor] | None,
    keep: int = 2,
) -> Path:
    """Write ``folder/step-00001000`` whole, then remove all but the newest ``keep`` checkpoints."""
    from safetensors.torch import save_file

    target = folder / f"step-{progress.step:08d}"
    working = folder / f".{target.name}.tmp"
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    save_file(_plain(model.state_dict()), working / "model.safetensors")
    tensors, plain = _optimizer_parts(optimizer)
    save_file(_plain(tensors), working / "optimizer.safetensors")
    write_json(working / "optimizer.json", plain)
    if average is not None:
        save_file(_plain(average), working / "average.safetensors")
    save_file(random_state(), working / "random.safetensors")
    write_json(working / "progress.json", progress)
    shutil.rmtree(target, ignore_errors=True)
    working.rename(target)
    complete = sorted(path for path in folder.glob("step-*") if _NAME.match(path.name))
    for old in complete[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_checkpoint(
    checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor] | None
) -> Progress:
    """Put a checkpoint's state into the model, the optimiser, the average and torch's generator.

    Raises:
        UserError: if the checkpoint does not fit them.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        progress = msgspec.json.decode((checkpoint / "progress.json").read_bytes(), type=Progress)
        model.load_state_dict(load_file(checkpoint / "model.safetensors"))
        tensors = load_file(checkpoint / "optimizer.safetensors")
        plain = msgspec.json.decode((checkpoint / "optimizer.json").read_bytes())
        _restore_optimizer(optimizer, tensors, plain)
        if average is not None:
            stored = load_file(checkpoint / "average.safetensors")
            with torch.no_grad():
                for name, value in average.items():
                    value.copy_(stored[name])
        torch.set_rng_state(load_file(checkpoint / "random.safetensors")["torch"])
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError, msgspec.MsgspecError) as error:
        raise UserError(f"{checkpoint}: does not fit this training ({error}); choose another folder") from error
    return progress


def random_state() -> dict[str, Tensor]:
    """State of torch's CPU generator."""
    return {"torch": torch.get_rng_state()}


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def _optimizer_parts(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State as named tensors, and the rest (group options, plain state) as JSON values."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                numbers.setdefault(str(index), {})[key] = value
    groups = [
        {key: value.item() if isinstance(value, Tensor) else value for key, value in group.items()}
        for group in state["param_groups"]
    ]
    return tensors, {"groups": groups, "numbers": numbers}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in plain["numbers"].items()}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    groups = [
        {key: tuple(value) if key == "betas" else value for key, value in group.items()} for group in plain["groups"]
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
