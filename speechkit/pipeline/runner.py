"""Runs a recipe: inspects each stage, runs stale ones, commits results."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechkit.errors import ConfigError, SpeechkitError, UserError
from speechkit.io.atomic import write_json
from speechkit.pipeline.backends import make_backend
from speechkit.pipeline.config import Settings, read_settings
from speechkit.pipeline.folder import CURRENT, point_to
from speechkit.pipeline.interrupt import Interrupted, StopRequest, listen
from speechkit.pipeline.last_run import LAST_RUN, last_run
from speechkit.pipeline.lock import run_lock
from speechkit.pipeline.progress import Progress
from speechkit.pipeline.recipe import Recipe
from speechkit.pipeline.stage import Stage, StageInput
from speechkit.pipeline.stage_run import Options, run_stage
from speechkit.pipeline.state import Inspector, StageState

LOG = "run.log"


@dataclass(frozen=True)
class Selection:
    """The stages of a run: ``start`` to ``stop``, by number."""

    start: int | None = None
    stop: int | None = None

    def of(self, recipe: Recipe) -> list[Stage]:
        """The selected stages.

        Raises:
            UserError: if a number belongs to no stage, or none is left.
        """
        numbers = [stage.number for stage in recipe.stages]
        for number in (self.start, self.stop):
            if number is not None and number not in numbers:
                recipe.stage(number)
        start = numbers[0] if self.start is None else self.start
        stop = numbers[-1] if self.stop is None else self.stop
        chosen = [stage for stage in recipe.stages if start <= stage.number <= stop]
        if not chosen:
            raise UserError(f"--stage {start} --stop-stage {stop} selects no stage of recipe {recipe.name}")
        return chosen


def run_recipe(
    recipe: Recipe,
    exp_dir: Path | str,
    overrides: Sequence[str] = (),
    backend: str = "inline",
    start: int | None = None,
    stop: int | None = None,
    force: bool = False,
    dry_run: bool = False,
    *,
    config_files: Sequence[Path | str] = (),
    arguments: Mapping[str, Any] | None = None,
    workers: int = 1,
    shard: tuple[int, int] | None = None,
    device: str = "auto",
    quiet: bool = False,
    show_results: bool = True,
) -> int:
    """Run the stages ``start`` to ``stop`` of a recipe in the folder ``exp_dir``; fresh stages are skipped.

    Args:
        recipe: the stages.
        exp_dir: the folder of the stages' folders; created if missing.
        overrides: ``key=value`` each, over ``config_files``, over the defaults.
        backend: "inline", "pool" or "ray", with ``workers`` workers.
        start: number of the first stage, the recipe's first unless given.
        stop: number of the last stage, the recipe's last unless given.
        force: run the selected stages even if they are fresh.
        dry_run: only print what would run, and why.
        config_files: YAML files, later ones over earlier ones.
        arguments: settings by key or section, as in YAML; they override the files and are overridden by ``overrides``.
        workers: processes of a pool, or parts at a time on ray.
        shard: ``(i, n)``: process every n-th part, from the i-th; i counts from 1.
        device: "auto", "cpu", "cuda", … for stages that ask for a GPU.
        quiet: show no progress.
        show_results: end with the main figure, the results' paths and the next command.

    Returns:
        0 when done, 130 when interrupted after the current part.

    Raises:
        UserError: for user errors; ConfigError before anything runs, for invalid settings of a selected stage.
        SpeechkitError: when a stage failed; the run's log has the traceback.
    """
    exp = Path(exp_dir)
    settings = read_settings(recipe, [Path(path) for path in config_files], overrides, arguments)
    chosen = Selection(start, stop).of(recipe)
    inspector = Inspector(settings, exp)
    if shard is not None and (shard[1] < 1 or not 1 <= shard[0] <= shard[1]):
        raise UserError(f"--shard {shard[0]}/{shard[1]}: the first number must be from 1 to the second")
    if shard is not None and force:
        raise UserError("--force and --shard exclude each other: a shard cannot undo another's work")
    if dry_run:
        for line in plan(inspector, chosen, force=force):
            print(line)
        return 0
    # Report invalid settings of late stages before the earlier ones run for hours.
    configs = {}
    for stage in chosen:
        try:
            configs[stage.name] = settings.config(stage)
        except ConfigError as error:
            raise ConfigError(f"stage {stage.number} {stage.name}: {error}") from error
    if recipe.check is not None and (problems := list(recipe.check(configs))):
        raise ConfigError("\n".join(problems))
    cpus = max((stage.resources.cpus for stage in chosen if stage.is_worker), default=1)
    options = Options(make_backend(backend, workers, cpus), backend, workers, shard, device)
    with run_lock(exp, shard), listen() as request, closing(options.backend):
        write_json(exp / LAST_RUN, last_run(config_files, overrides, arguments or {}))
        progress = Progress(exp / LOG, quiet=quiet)
        progress.start(recipe.name, len(chosen))
        try:
            code = _run_stages(settings, inspector, chosen, options, progress, request, force=force)
            if show_results:
                for line in _results(recipe, inspector, chosen[-1]):
                    progress.say(line)
            return code
        except Interrupted as error:
            progress.say(f"interrupted: {str(error) or 'the next run resumes from saved work'}")
            return Interrupted.exit_code
        except KeyboardInterrupt:
            progress.say("stopped at once; the next run resumes from the last finished part")
            return Interrupted.exit_code
        except UserError:
            progress.log(traceback.format_exc())
            raise
        except SpeechkitError as error:
            progress.log(traceback.format_exc())
            raise type(error)(f"{error}; log: {exp / LOG}") from error
        except Exception as error:
            progress.log(traceback.format_exc())
            raise SpeechkitError(f"{type(error).__name__}: {error}; log: {exp / LOG}") from error
        finally:
            progress.close()


def outputs(recipe: Recipe, exp_dir: Path | str, stage: str) -> Path:
    """The folder of a stage's current result.

    Raises:
        UserError: if the stage has none yet.
    """
    from speechkit.pipeline.folder import current_folder

    folder = current_folder(Path(exp_dir) / recipe.stage(stage).folder_name)
    if folder is None:
        raise UserError(f"{exp_dir}: stage {stage} has no result yet; run the recipe first")
    return folder


def plan(inspector: Inspector, stages: Sequence[Stage], *, force: bool = False) -> list[str]:
    """What a run would do and why, one line per stage."""
    lines = []
    for stage in stages:
        state = inspector.state(stage)
        word: str = state.condition
        reasons = state.reasons
        if state.condition == "fresh" and force:
            word, reasons = "run", ("forced",)
        elif state.condition == "waits":
            word = "run"
        why = f": {'; '.join(reasons)}" if reasons else ""
        lines.append(f"{stage.number:2d} {stage.name:20s} {word}{why}")
    return lines


def _run_stages(
    settings: Settings,
    inspector: Inspector,
    chosen: list[Stage],
    options: Options,
    progress: Progress,
    request: StopRequest,
    *,
    force: bool,
) -> int:
    _check_inputs(inspector, chosen)
    for stage in chosen:
        _check_earlier(settings.recipe, inspector, stage, chosen)
        state = inspector.state(stage)
        label = f"stage {stage.number} {stage.name}"
        if state.condition == "fresh" and not force:
            progress.say(f"{label}: fresh")
            if state.folder is not None:
                point_to(state.folder.final)
                if options.shard is None:
                    state.folder.remove_work()  # of a run that was killed right after its commit
        else:
            if state.condition in ("not configured", "waits"):
                raise UserError("; ".join(state.reasons))
            why = f" ({'; '.join(state.reasons)})" if state.reasons else ""
            progress.log(f"{label}: {state.condition}{why}")
            began = time.monotonic()
            if not _run_one(settings, inspector, state, options, progress, request, force=force):
                return 0  # other shards still have parts of this stage
            if state.folder is not None:
                point_to(state.folder.final)
            inspector.forget(stage)
            state = inspector.state(stage)
            if state.record is None:
                # The digests were taken before the run; an input that changed meanwhile makes the result stale.
                raise SpeechkitError(f"{label}: {'; '.join(state.reasons)} while it ran; run again")
            progress.say(f"{label}: {_counts(state)} in {time.monotonic() - began:.1f} s")
        progress.advance_run()
        if request and stage is not chosen[-1]:
            raise Interrupted(f"after {label}; the next run resumes there")
    return 0


def _results(recipe: Recipe, inspector: Inspector, last: Stage) -> Iterator[str]:
    """The last stage's main figure and files, and the next command after the recipe's last stage."""
    state = inspector.state(last)
    if state.record is None or state.folder is None:
        return
    if figure := state.record.run.get("main_figure"):
        yield str(figure)
    names = [name for name in state.record.outputs if name != "drops.jsonl"]
    folder = state.folder.root / CURRENT
    yield f"results: {', '.join(str(folder / name) for name in sorted(names, key=lambda name: 'report' not in name))}"
    if recipe.next_command and last is recipe.stages[-1]:
        yield f"next: {recipe.next_command.replace('{exp}', str(inspector.exp))}"


def _run_one(
    settings: Settings,
    inspector: Inspector,
    state: StageState,
    options: Options,
    progress: Progress,
    request: StopRequest,
    *,
    force: bool,
) -> bool:
    try:
        return run_stage(settings, inspector, state, options, progress, request, force=force)
    except SpeechkitError as error:
        name = f"stage {state.stage.number} {state.stage.name}"
        if isinstance(error, Interrupted) or name in str(error):
            raise
        named = type(error)(f"{name}: {error}")
        raise named from error
    finally:
        progress.end_stage()


def _check_inputs(inspector: Inspector, chosen: list[Stage]) -> None:
    """Report the missing inputs of all stages at once, before the first one runs.

    Raises:
        UserError: with a sentence for each.
    """
    states = [inspector.state(stage) for stage in chosen]
    missing = [reason for state in states if state.condition == "not configured" for reason in state.reasons]
    if missing:
        raise UserError("; ".join(dict.fromkeys(missing)))


def _check_earlier(recipe: Recipe, inspector: Inspector, stage: Stage, chosen: list[Stage]) -> None:
    """Require stages before the first chosen one to be fresh."""
    for input_ in stage.inputs:
        if not isinstance(input_, StageInput):
            continue
        earlier = recipe.stage(input_.stage)
        if earlier in chosen:
            continue
        _check_earlier(recipe, inspector, earlier, chosen)
        state = inspector.state(earlier)
        if state.condition != "fresh":
            why = f" ({'; '.join(state.reasons)})" if state.reasons else ""
            raise UserError(
                f"stage {stage.number} {stage.name} needs stage {earlier.number} {earlier.name}, which is "
                f"{state.condition}{why}; run from there: --stage {earlier.number}"
            )


def _counts(state: StageState) -> str:
    record = state.record
    assert record is not None
    written = [done.records for path, done in record.outputs.items() if path != "drops.jsonl"]
    counts = [f"{records} records" for records in written if records is not None][:1]
    dropped = sum(record.dropped.values())
    if dropped:
        counts.append(f"{dropped} dropped")
    return ", ".join(counts) or "done"
