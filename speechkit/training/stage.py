"""The training stage shared by all recipes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial

from speechkit.pipeline import Context, Interrupted
from speechkit.pipeline.processes import is_first, process_count, run_together
from speechkit.training.config import TrainingConfig
from speechkit.training.objective import Objective


def train_stage(
    context: Context,
    make_objective: Callable[[Context], Objective],
    config: TrainingConfig,
    *,
    processes: int = 1,
    tensorboard: bool = False,
) -> None:
    """Train an objective, resuming an interrupted run; write ``model`` and ``metrics.jsonl``.

    Args:
        context: of a stage that declares these two outputs; checkpoints are in its scratch folder.
        make_objective: called in each process, after seeding; a top-level function of a module, or a
            `functools.partial` of one.
        config: how long and how.
        processes: processes of this machine that share each step; 0: one per GPU.
        tensorboard: also write TensorBoard files (extra), to the context's ``curves``.

    Raises:
        Interrupted: if the user requested a stop; checkpoints are kept.
    """
    work = partial(_train, make_objective, config, tensorboard)
    run_together(work, context, process_count(processes, context.device))


def _train(
    make_objective: Callable[[Context], Objective], config: TrainingConfig, tensorboard: bool, context: Context
) -> None:
    """Training in each process; the first one writes."""
    from speechkit.runtime import seed_everything
    from speechkit.training.loop import train

    seed_everything(context.seed)
    objective = make_objective(context)
    done = train(
        objective,
        config,
        context.scratch,
        should_stop=lambda: context.interrupted,
        device=context.device,
        tensorboard=context.curves if tensorboard else None,
        log=context.say,
    )
    if not done:
        raise Interrupted
    if not is_first():
        return
    shutil.copy(context.scratch / "metrics.jsonl", context.output("metrics.jsonl"))
    if objective.save is not None:
        objective.save(context.output("model"))
