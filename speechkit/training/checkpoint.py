"""Checkpoints: a folder of safetensors and JSON, renamed into place. No pickle is written or read."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from speechkit.errors import UserError
from speechkit.io.atomic import write_json

_NAME = re.compile(r"step-(\d{8})\Z")
FORMAT = 2


class Progress(msgspec.Struct, forbid_unknown_fields=True):
    """State of a run.

    Attributes:
        config: the initial settings.
        step: steps done.
        next_batch: the number of the next micro-batch.
        seconds: of training so far.
        sums: of logged values since the last line, by name in order; None if not finite.
        summed: number of steps in the sums.
        nonfinite_steps: consecutive steps with non-finite gradients.
        evaluated: the step of the last evaluation.
        history: of early stopping.
        metrics_lines: lines of ``metrics.jsonl``.
        format: version of the checkpoint.
    """

    config: dict[str, Any]
    step: int = 0
    next_batch: int = 0
    seconds: float = 0.0
    sums: list[tuple[str, float | None]] = []
    summed: int = 0
    nonfinite_steps: int = 0
    evaluated: int = 0
    history: list[float] = []
    metrics_lines: int = 0
    format: int = FORMAT


def latest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint with the highest step, or None."""
    complete = [path for path in folder.glob("step-*") if _NAME.match(path.name) and (path / "progress.json").is_file()]
    return max(complete, key=lambda path: path.name, default=None)


def steps_done(folder: Path) -> int:
    """Steps of the newest complete checkpoint, 0 without one."""
    newest = latest_checkpoint(folder)
    return 0 if newest is None else int(newest.name.removeprefix("step-"))


def save_checkpoint(
    folder: Path,
    progress: Progress,
    network: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    average: dict[str, Tensor],
    keep: int = 2,
) -> Path:
    """Write ``folder/step-00001000`` whole, then remove all but the newest ``keep`` checkpoints."""
    from safetensors.torch import save_file

    target = folder / f"step-{progress.step:08d}"
    working = folder / f".{target.name}.tmp"
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    save_file(_plain(network.state_dict()), working / "model.safetensors")
    for number, optimizer in enumerate(optimizers):
        tensors, plain = _optimizer_parts(optimizer)
        save_file(_plain(tensors), working / f"optimizer-{number}.safetensors")
        write_json(working / f"optimizer-{number}.json", plain)
    save_file(_plain(average), working / "average.safetensors")
    save_file({"torch": torch.get_rng_state()}, working / "random.safetensors")
    write_json(working / "progress.json", progress)
    shutil.rmtree(target, ignore_errors=True)
    working.rename(target)
    complete = sorted(path for path in folder.glob("step-*") if _NAME.match(path.name))
    for old in complete[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_checkpoint(
    checkpoint: Path, network: nn.Module, optimizers: Sequence[torch.optim.Optimizer], average: dict[str, Tensor]
) -> Progress:
    """Load a checkpoint into the network, the optimisers, the average and torch's generator.

    Raises:
        UserError: if the checkpoint does not fit, or has another format version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        raw = (checkpoint / "progress.json").read_bytes()
        if msgspec.json.decode(raw).get("format", 1) != FORMAT:
            raise UserError(
                f"{checkpoint}: was written by another version of speechkit; resume with that version, or "
                f"remove {checkpoint.parent} to start again"
            )
        progress = msgspec.json.decode(raw, type=Progress)
        if len(list(checkpoint.glob("optimizer-*.json"))) != len(optimizers):
            raise ValueError(f"it does not have {len(optimizers)} optimisers")
        network.load_state_dict(load_file(checkpoint / "model.safetensors"))
        for number, optimizer in enumerate(optimizers):
            tensors = load_file(checkpoint / f"optimizer-{number}.safetensors")
            plain = msgspec.json.decode((checkpoint / f"optimizer-{number}.json").read_bytes())
            _restore_optimizer(optimizer, tensors, plain)
        stored = load_file(checkpoint / "average.safetensors")
        with torch.no_grad():
            for name, value in average.items():
                value.copy_(stored[name])
        torch.set_rng_state(load_file(checkpoint / "random.safetensors")["torch"])
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError, msgspec.MsgspecError) as error:
        raise UserError(f"{checkpoint}: does not fit this training ({error}); choose another folder") from error
    return progress


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
