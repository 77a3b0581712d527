"""The training loop, top to bottom.

It does not support: sharded optimisers, models larger than one device, or a change of the number of processes with
unequal accumulation (a step is processes times accumulation batches).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from speechkit.errors import ConfigError, UserError
from speechkit.training.averaging import AveragedWeights
from speechkit.training.checkpoint import Progress, latest_checkpoint, load_checkpoint, save_checkpoint, steps_done
from speechkit.training.config import TrainingConfig, mixed_precision, rate_factor
from speechkit.training.metrics_log import MetricsLog
from speechkit.training.objective import Batch, LossFunction, Objective, Turn, to_device

MAX_NONFINITE_STEPS = 20


def train(
    objective: Objective,
    config: TrainingConfig,
    folder: str | Path,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    device: str = "cpu",
    tensorboard: Path | None = None,
    log: Callable[[str], None] = print,
) -> bool:
    """Train for the given steps or minutes, or until early stopping, resuming from the newest checkpoint.

    Several processes (``torchrun``, `speechkit.pipeline.processes`) share each step: micro-batch ``n`` belongs to
    process ``n mod world size``.
    A resumed run gives the same weights and metrics as an uninterrupted one, bit for bit on a CPU (without
    ``max_minutes``): batches are functions of their number, and each micro-batch seeds torch's generator.

    Args:
        objective: its network is trained in place and ends with the averaged weights, or with early stopping the best.
        config: how long and how.
        folder: receives ``metrics.jsonl`` and ``checkpoints/``.
        should_stop: called after every step; if true, saves and returns.
        device: ``cpu``, or any other name for the device that Accelerate finds.
        tensorboard: a folder for TensorBoard files (extra).
        log: called with log lines.

    Returns:
        True if training is complete, False if it was stopped.

    Raises:
        UserError: if a checkpoint belongs to other settings, or the gradient is not finite for 20 consecutive steps.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # Accelerate keeps global settings, which another training in this process may change.
    AcceleratorState._reset_state()
    accelerator: Any = Accelerator(
        cpu=device == "cpu",
        mixed_precision=mixed_precision(config.precision, device),
        gradient_accumulation_steps=config.accumulation,
    )
    folder, network, stopping = Path(folder), objective.network, objective.early_stopping
    rank, world = accelerator.process_index, accelerator.num_processes
    learners = _learners(objective, config)
    average = AveragedWeights(network.to(accelerator.device), config.average_decay)
    # Batches per step, for any number of processes.
    state = Progress({**msgspec.to_builtins(config), "accumulation": config.accumulation * world})
    checkpoint = latest_checkpoint(folder / "checkpoints")
    if checkpoint is not None:
        settings = state.config
        state = load_checkpoint(checkpoint, network, [learner.optimizer for learner in learners], average.weights)
        _same_settings(state.config, settings, checkpoint)
        log(f"resuming from {checkpoint.name}")
    if stopping is not None:
        stopping.history = state.history
    accelerator.wait_for_everyone()
    # Only Accelerate's autocast is used; the losses below are wrapped for several processes.
    network = accelerator.prepare_model(network, evaluation_mode=True)
    for learner in learners:
        learner.prepare(accelerator)
    if tensorboard is not None:
        log(f"curves: tensorboard --logdir {tensorboard}")
    metrics = (
        MetricsLog(folder / "metrics.jsonl", state.metrics_lines, tensorboard, state.step)
        if accelerator.is_main_process
        else None
    )
    seconds_before, began = state.seconds, time.monotonic()
    sums = {name: math.nan if value is None else value for name, value in state.sums}

    def elapsed() -> float:
        return seconds_before + time.monotonic() - began

    def any_process(condition: bool) -> bool:
        """Whether a condition holds in any process: all must leave the loop at the same step."""
        if world == 1:
            return condition
        return bool(accelerator.reduce(torch.tensor(float(condition), device=accelerator.device), "sum") > 0)

    def finished() -> bool:
        timed_out = config.max_minutes is not None and elapsed() >= 60 * config.max_minutes
        return state.step >= config.steps or any_process(timed_out or (stopping is not None and stopping.should_stop))

    def add(name: str, value: float) -> None:
        sums[name] = sums.get(name, 0.0) + value

    def save() -> None:
        if metrics is not None:
            state.seconds, state.metrics_lines = elapsed(), metrics.lines
            state.sums = [(name, value if math.isfinite(value) else None) for name, value in sums.items()]
            save_checkpoint(
                folder / "checkpoints",
                state,
                network,
                [learner.optimizer for learner in learners],
                average.weights,
                config.keep_checkpoints,
            )
        accelerator.wait_for_everyone()

    def evaluate() -> None:
        state.evaluated = state.step
        if metrics is not None and objective.evaluate is not None:
            generator = torch.get_rng_state()
            network.eval()
            with average.applied(network), torch.no_grad():
                values = objective.evaluate(network)
                if stopping is not None:
                    stopping.update(values, network, folder)
                if objective.listen is not None and metrics.mirrored:
                    metrics.listen(state.step, objective.listen(network))
            torch.set_rng_state(generator)
            metrics.write(state.step, values)
            log(_line(state.step, values))
        accelerator.wait_for_everyone()

    with ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(objective.batch, state.next_batch + rank)

        def next_batches() -> Iterator[tuple[int, Batch]]:
            """The micro-batches of a step with their numbers; the next one is prepared meanwhile."""
            nonlocal pending
            for _ in range(config.accumulation):
                number, batch = state.next_batch + rank, pending.result()
                state.next_batch += world
                pending = ahead.submit(objective.batch, state.next_batch + rank)
                yield number, to_device(batch, accelerator.device)

        while not finished():
            factor = rate_factor(config, state.step, elapsed())
            network.train()
            batches: Any = next_batches()
            if len(learners) > 1:
                batches = list(batches)
            finite = True
            for learner in learners:
                norm = learner.step(accelerator, batches, factor, add)
                finite = finite and math.isfinite(norm)
            state.nonfinite_steps = 0 if finite else state.nonfinite_steps + 1
            if state.nonfinite_steps == MAX_NONFINITE_STEPS:
                raise UserError(
                    f"the gradient was not finite for {MAX_NONFINITE_STEPS} steps; lower the learning rates "
                    "or fix the data"
                )
            state.step += 1
            state.summed += 1
            average.update(network, state.step)
            if state.step % config.log_every == 0:
                means = {name: value / state.summed for name, value in sums.items()} | {"rate_factor": factor}
                sums.clear()
                state.summed = 0
                if metrics is not None:
                    metrics.write(state.step, means)
                    log(_line(state.step, means | {"minutes": elapsed() / 60}))
            if state.step % config.evaluate_every == 0:
                evaluate()
            stop = any_process(should_stop())
            if stop or (state.step % config.save_every == 0 and state.step < config.steps):
                save()
            if stop:
                pending.cancel()
                return False
        pending.cancel()
    save()
    if state.evaluated < state.step and objective.evaluate is not None:
        evaluate()
        save()
    if stopping is not None and any_process(bool(stopping.history)):
        stopping.restore(network, folder)
    else:
        with torch.no_grad():
            network.load_state_dict({**network.state_dict(), **average.weights})
    accelerator.wait_for_everyone()
    return True


def train_measured(
    objective: Objective, config: TrainingConfig, folder: Path, *, should_stop: Callable[[], bool], device: str
) -> tuple[bool, float | None]:
    """`train` without log lines: whether training is complete, and CPU seconds per step of this call.

    The seconds include evaluations, and are None if a resumed training had no step left.
    """
    before, began = steps_done(folder / "checkpoints"), time.process_time()
    complete = train(objective, config, folder, should_stop=should_stop, device=device, log=lambda line: None)
    steps = steps_done(folder / "checkpoints") - before
    return complete, (time.process_time() - began) / steps if steps else None


class _Learner:
    """A turn with its optimiser.

    DistributedDataParallel around the loss averages gradients of several processes, so that a loss may call its network
    repeatedly and by any method; dropped layers are detected as unused.
    """

    def __init__(self, number: int, turn: Turn, prefix: str, network: nn.Module, rates: Sequence[float], config: Any):
        trained = {id(parameter) for group in turn.groups for parameter in group}
        self.parameters = [parameter for parameter in network.parameters() if id(parameter) in trained]
        if len(self.parameters) != len(trained):
            raise ValueError("a group has parameters outside the objective's network")
        self._constants = [
            parameter for parameter in network.parameters() if parameter.requires_grad and id(parameter) not in trained
        ]
        self.optimizer: Any = torch.optim.AdamW(
            [{"params": group, "lr": 0.0} for group in turn.groups], betas=turn.betas, weight_decay=config.weight_decay
        )
        self._loss: nn.Module = _Loss(network, turn.loss)
        self._number, self._prefix, self._rates, self._config = number, prefix, rates, config

    def prepare(self, accelerator: Any) -> None:
        """Move to the device and wrap for several processes."""
        self._optimizer = accelerator.prepare_optimizer(self.optimizer)
        if accelerator.num_processes > 1:
            with self._alone():
                self._loss = DistributedDataParallel(
                    self._loss, broadcast_buffers=False, find_unused_parameters=True, gradient_as_bucket_view=True
                )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Disable gradients of all other parameters."""
        for parameter in self._constants:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in self._constants:
                parameter.requires_grad_(True)

    def step(self, accelerator: Any, batches: Any, factor: float, add: Callable[[str, float], None]) -> float:
        """One optimiser step on some micro-batches, skipped if the gradient is not finite; returns its norm."""
        for group, peak in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = peak * factor
        for index, (number, batch) in enumerate(batches, start=1):
            # The same random numbers for this batch with any number of processes and after any interruption.
            torch.manual_seed((self._config.seed * 1_000_003 + number + (self._number << 48)) % 2**63)
            local = index < self._config.accumulation and isinstance(self._loss, DistributedDataParallel)
            with self._alone(), self._loss.no_sync() if local else nullcontext(), accelerator.autocast():  # type: ignore[operator]
                loss, values = self._loss(batch)
                accelerator.backward(loss)
            for name, value in {"loss": float(loss.detach()), **values}.items():
                add(self._prefix + name, value / self._config.accumulation)
        norm = float(accelerator.clip_grad_norm_(self.parameters, self._config.clip_norm))
        if math.isfinite(norm):
            self._optimizer.step()
        self._optimizer.zero_grad()
        add(f"{self._prefix}gradient_norm", norm if math.isfinite(norm) else 0.0)
        return norm


class _Loss(nn.Module):
    def __init__(self, network: nn.Module, loss: LossFunction):
        super().__init__()
        self.network = network
        self._function = loss

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        return self._function(self.network, batch)


def _learners(objective: Objective, config: TrainingConfig) -> list[_Learner]:
    counts = [len(turn.groups) for turn in objective.turns]
    if sum(counts) != len(config.learning_rates):
        raise ConfigError(
            f"there are {len(config.learning_rates)} learning_rates for {sum(counts)} parameter groups; give one each"
        )
    learners = []
    for number, turn in enumerate(objective.turns):
        prefix = f"{turn.name}_" if len(counts) > 1 else ""
        rates = config.learning_rates[sum(counts[:number]) : sum(counts[: number + 1])]
        learners.append(_Learner(number, turn, prefix, objective.network, rates, config))
    return learners


def _line(step: int, values: dict[str, float]) -> str:
    return f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _same_settings(stored: dict[str, Any], current: dict[str, Any], checkpoint: Path) -> None:
    """Require equal settings, except for the intervals of logging, evaluation and saving."""
    ignored = {"log_every", "evaluate_every", "save_every", "keep_checkpoints"}
    names = sorted(
        name
        for name in set(stored) | set(current)
        if name not in ignored and msgspec.json.encode(stored.get(name)) != msgspec.json.encode(current.get(name))
    )
    if names:
        differences = ", ".join(f"{name} {stored.get(name)} there and {current.get(name)} here" for name in names)
        raise UserError(f"{checkpoint}: was made with other settings ({differences}); use another folder")
