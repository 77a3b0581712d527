"""The training loop, top to bottom.

It does not support: sharded optimisers, models larger than one device, or a change of the number of processes with
unequal accumulation (processes times accumulation is what a step means).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from speechkit.errors import ConfigError, UserError
from speechkit.training.averaging import AveragedWeights
from speechkit.training.checkpoint import Progress, latest_checkpoint, load_checkpoint, save_checkpoint
from speechkit.training.gradients import average_gradients, share_weights
from speechkit.training.metrics_log import MetricsLog

Batch = Any
Precision = Literal["no", "bf16", "auto"]
"""Of products: float32, bfloat16, or bfloat16 where the device is faster with it."""
LossFunction = Callable[[nn.Module, Batch], tuple[Tensor, dict[str, float]]]


class TrainingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long and how to train.

    ``learning_rates`` has one peak a parameter group. The rate rises for ``warmup_steps`` and falls linearly to zero
    at ``steps``, or at ``max_minutes`` if that comes first: with it, how far a run gets depends on the machine.
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
        if any(rate < 0 for rate in self.learning_rates):
            wrong.append(f"learning_rates {self.learning_rates} must not be negative")
        if wrong:
            raise ConfigError("; ".join(wrong))


def mixed_precision(precision: Precision, device: str) -> Literal["no", "bf16"]:
    """What ``auto`` is on a device; others stay as they are."""
    from speechkit.runtime.device import autocast_dtype

    if precision != "auto":
        return precision
    return "bf16" if autocast_dtype("cpu" if device == "cpu" else "cuda") == torch.bfloat16 else "no"


def rate_factor(config: TrainingConfig, step: int, seconds: float) -> float:
    """The share of the peak learning rate for the step after ``step`` steps and ``seconds`` of training."""
    done = step / config.steps
    if config.max_minutes is not None:
        done = max(done, seconds / (60 * config.max_minutes))
    rising = (step + 1) / config.warmup_steps if config.warmup_steps else 1.0
    return max(0.0, min(1.0, rising, 1.0 - done))


def train(
    model: nn.Module,
    groups: Sequence[list[nn.Parameter]],
    make_batch: Callable[[int], Batch],
    loss_function: LossFunction,
    config: TrainingConfig,
    folder: str | Path,
    *,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    device: str = "cpu",
    tensorboard: bool = False,
    log: Callable[[str], None] = print,
) -> bool:
    """Train until the steps or minutes are used up, going on from the newest checkpoint in ``folder``.

    Several processes (``torchrun``, `speechkit.pipeline.processes`) share each step: micro-batch ``n`` belongs to
    process ``n mod world size``.
    A run that was interrupted and goes on gives the same weights, bit for bit on a CPU, as one that was not (without
    ``max_minutes``): batches are functions of their number, and each micro-batch seeds torch's generator.

    Args:
        model: changed in place; it ends with the averaged weights.
        groups: parameters by learning rate, one group for each of ``config.learning_rates``.
        make_batch: the micro-batch of a number; called in a second thread, ahead of time.
        loss_function: (model, batch) to the mean loss and numbers to log.
        config: how long and how.
        folder: receives ``metrics.jsonl`` and ``checkpoints/``.
        evaluate: called with the averaged weights in the first process; its numbers are logged.
        should_stop: asked after every step; a true answer saves and returns.
        device: ``cpu``, or any other name for the device that Accelerate finds.
        tensorboard: also write TensorBoard files (extra).
        log: receives lines for people.

    Returns:
        True when training is complete, False when it was stopped before.

    Raises:
        UserError: if a checkpoint belongs to other settings, or the loss is not finite for 20 steps running.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if len(groups) != len(config.learning_rates):
        raise ConfigError(f"{len(config.learning_rates)} learning_rates for {len(groups)} groups of parameters")
    # Accelerate keeps its settings for the process; another training in this process may have other ones.
    AcceleratorState._reset_state()
    accelerator: Any = Accelerator(
        cpu=device == "cpu",
        mixed_precision=mixed_precision(config.precision, device),
        gradient_accumulation_steps=config.accumulation,
    )
    folder = Path(folder)
    optimizer: Any = torch.optim.AdamW(
        [{"params": group, "lr": 0.0} for group in groups], betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    average = AveragedWeights(model.to(accelerator.device), config.average_decay)
    # What a step consumes, in whatever layout of processes.
    settings = {**msgspec.to_builtins(config), "accumulation": config.accumulation * accelerator.num_processes}
    step, next_batch, seconds_before = 0, 0, 0.0
    checkpoint = latest_checkpoint(folder / "checkpoints")
    if checkpoint is not None:
        progress = load_checkpoint(checkpoint, model, optimizer, average.weights)
        _same_settings(progress.config, settings, checkpoint)
        step, next_batch, seconds_before = progress.step, progress.next_batch, progress.seconds
        log(f"going on from {checkpoint.name}")
    accelerator.wait_for_everyone()
    inner = model
    # Only its autocast: gradients are averaged below, since layers that are dropped have none.
    model = accelerator.prepare_model(model, evaluation_mode=True)
    optimizer = accelerator.prepare_optimizer(optimizer)
    first = accelerator.is_main_process
    metrics = (
        MetricsLog(folder / "metrics.jsonl", step, folder / "tensorboard" if tensorboard else None) if first else None
    )
    rank, world = accelerator.process_index, accelerator.num_processes
    share_weights(inner, world)
    began, strange, summed = time.monotonic(), 0, 0
    sums: dict[str, float] = {}

    def elapsed() -> float:
        return seconds_before + time.monotonic() - began

    def over() -> bool:
        late = config.max_minutes is not None and elapsed() >= 60 * config.max_minutes
        return step >= config.steps or _any_process(accelerator, late)

    def save() -> None:
        if first:
            state = Progress(step, next_batch, elapsed(), settings)
            save_checkpoint(
                folder / "checkpoints", state, inner, optimizer.optimizer, average.weights, config.keep_checkpoints
            )
        accelerator.wait_for_everyone()

    with ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(make_batch, next_batch + rank)
        while not over():
            factor = rate_factor(config, step, elapsed())
            for group, peak in zip(optimizer.param_groups, config.learning_rates, strict=True):
                group["lr"] = peak * factor
            model.train()
            for _ in range(config.accumulation):
                number = next_batch + rank
                batch = pending.result()
                next_batch += world
                pending = ahead.submit(make_batch, next_batch + rank)
                # The same numbers for this batch in any layout of processes and after any interruption.
                torch.manual_seed((config.seed * 1_000_003 + number) % 2**63)
                with accelerator.autocast():
                    loss, values = loss_function(model, _to_device(batch, accelerator.device))
                    accelerator.backward(loss)
                for name, value in {"loss": float(loss.detach()), **values}.items():
                    sums[name] = sums.get(name, 0.0) + value / config.accumulation
            average_gradients(inner.parameters(), world)
            norm = float(accelerator.clip_grad_norm_(model.parameters(), config.clip_norm))
            if math.isfinite(norm):
                optimizer.step()
                strange = 0
            else:
                strange += 1
                if strange == 20:
                    raise UserError(
                        "the gradient was not finite for 20 steps; lower the learning rates or mend the data"
                    )
            optimizer.zero_grad()
            step, summed = step + 1, summed + 1
            sums["gradient_norm"] = sums.get("gradient_norm", 0.0) + (norm if math.isfinite(norm) else 0.0)
            average.update(inner, step)
            if step % config.log_every == 0:
                means = {name: value / summed for name, value in sums.items()}
                sums, summed = {}, 0
                means |= {"rate_factor": factor, "minutes": elapsed() / 60}
                if metrics is not None:
                    metrics.write(step, means)
                    log(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in means.items()))
            if evaluate is not None and step % config.evaluate_every == 0:
                _evaluate(inner, average, evaluate, metrics, step, elapsed(), log)
                accelerator.wait_for_everyone()
            if step % config.save_every == 0 and step < config.steps:
                save()
            if _any_process(accelerator, should_stop()):
                save()
                pending.cancel()
                return False
        pending.cancel()
    save()
    if evaluate is not None and step % config.evaluate_every:
        _evaluate(inner, average, evaluate, metrics, step, elapsed(), log)
    with torch.no_grad():
        inner.load_state_dict({**inner.state_dict(), **average.weights})
    accelerator.wait_for_everyone()
    return True


def _any_process(accelerator: Any, answer: bool) -> bool:
    """Whether any process says yes: all must leave the loop at the same step."""
    if accelerator.num_processes == 1:
        return answer
    return bool(accelerator.reduce(torch.tensor(float(answer), device=accelerator.device), "sum") > 0)


def _evaluate(
    model: nn.Module,
    average: AveragedWeights,
    evaluate: Callable[[nn.Module], dict[str, float]],
    metrics: MetricsLog | None,
    step: int,
    seconds: float,
    log: Callable[[str], None],
) -> None:
    if metrics is None:
        return
    state = torch.get_rng_state()
    model.eval()
    with average.applied(model), torch.no_grad():
        values = evaluate(model)
    torch.set_rng_state(state)
    metrics.write(step, {**values, "minutes": seconds / 60})
    log(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))


def _to_device(batch: Batch, device: torch.device) -> Batch:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: _to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return type(batch)(_to_device(value, device) for value in batch)
    return batch


def _same_settings(stored: dict[str, Any], current: dict[str, Any], checkpoint: Path) -> None:
    """What changes the result must agree; how often to log, look and save may differ."""
    free = {"log_every", "evaluate_every", "save_every", "keep_checkpoints"}
    names = sorted(
        name
        for name in set(stored) | set(current)
        if name not in free and msgspec.json.encode(stored.get(name)) != msgspec.json.encode(current.get(name))
    )
    if names:
        shown = ", ".join(f"{name} {stored.get(name)} there and {current.get(name)} here" for name in names)
        raise UserError(f"{checkpoint}: was made with other settings ({shown}); use another folder")
