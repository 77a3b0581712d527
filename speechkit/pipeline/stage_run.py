"""Runs one stage and commits it."""

from __future__ import annotations

import platform
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import SpeechkitError, UserError
from speechkit.io.atomic import atomic_path, write_error
from speechkit.pipeline.backends import Backend
from speechkit.pipeline.config import Settings
from speechkit.pipeline.content import ContentDigests
from speechkit.pipeline.context import Context
from speechkit.pipeline.fingerprint import input_paths
from speechkit.pipeline.folder import (
    Committed,
    StageFolder,
    StageRecord,
    digest_outputs,
    measure_output,
    read_record,
    remember_outputs,
)
from speechkit.pipeline.interrupt import Interrupted, StopRequest
from speechkit.pipeline.job import Job, PartResult, job_for
from speechkit.pipeline.merge import count_reasons, merge_parts
from speechkit.pipeline.parts import INDEX, PartIndex, decode_line, index_parts
from speechkit.pipeline.progress import Progress
from speechkit.pipeline.stage import DropRecord, External, Output, Stage, StageInput, Worker
from speechkit.pipeline.state import Inspector, StageState
from speechkit.runtime import choose_device, item_seed

MAX_MEASURED = 100_000
"""Maximum number of records whose audio duration is summed before a stage begins."""


@dataclass(frozen=True)
class Options:
    """Options of a run; none may change a result."""

    backend: Backend
    backend_name: str
    workers: int
    shard: tuple[int, int] | None
    device: str


def run_stage(
    settings: Settings,
    inspector: Inspector,
    state: StageState,
    options: Options,
    progress: Progress,
    stop: StopRequest,
    *,
    force: bool,
) -> bool:
    """Run and commit one stage; False if other shards have yet to finish it.

    Raises:
        SpeechkitError: if it failed; finished parts are kept.
        Interrupted: if the user stopped it.
    """
    stage, folder, config = state.stage, state.folder, state.config
    assert folder is not None
    assert config is not None
    if options.shard is None:
        # A forced or damaged result is replaced as a whole, without reusing parts.
        if force or state.condition == "stale":
            folder.remove_work()
        folder.make_work()
        folder.clear_temporaries()
    folder.make_work()
    paths = input_paths(stage, settings.given(stage), inspector.folders(stage))
    device = choose_device(options.device) if stage.resources.gpus else "cpu"
    run = _Run(
        settings, stage, folder, config, state, inspector.contents, options, progress, stop, paths, device, force
    )
    if not stage.is_worker:
        if options.shard is not None and options.shard[0] != 1:
            progress.say(
                f"stage {stage.number} {stage.name} is a whole-set stage, which shard 1 runs; run this shard after it"
            )
            return False
        run.whole()
        return True
    return run.parts()


@dataclass
class _Run:
    settings: Settings
    stage: Stage
    folder: StageFolder
    config: msgspec.Struct
    state: StageState
    contents: ContentDigests
    options: Options
    progress: Progress
    stop: StopRequest
    paths: dict[str, Path]
    device: str
    force: bool

    def __post_init__(self) -> None:
        self.label = f"stage {self.stage.number} {self.stage.name}"
        self.seed = item_seed(self.settings.seed, self.stage.name)
        self.began = time.time()

    def whole(self) -> None:
        """A function that sees whole inputs; it may use all CPUs, whatever limit an earlier stage had."""
        from speechkit.runtime import asked_threads, available_cpus, limit_threads

        limit_threads(asked_threads() or available_cpus())
        run: Any = self.stage.run
        staging = self.folder.new_staging()
        scratch = self.folder.work / "scratch"
        scratch.mkdir(exist_ok=True)
        self.progress.begin_stage(self.label, 0)
        context = Context(
            self.stage,
            self.config,
            inputs=self.paths,
            schemas={input_.name: _schema(input_, self.settings) for input_ in self.stage.inputs},
            staging=staging,
            scratch=scratch,
            curves=self.folder.root / "tensorboard" / self.folder.final.name,
            seed=self.seed,
            device=self.device,
            progress=self.progress,
            stop=self.stop,
        )
        if self.stage.drop_reasons:
            (staging / "drops.jsonl").touch()
        try:
            run(context)
        except SpeechkitError:
            raise
        except OSError as error:
            raise write_error(Path(error.filename or staging), error) from error
        except Exception as error:
            self.progress.log(traceback.format_exc())
            raise SpeechkitError(f"{self.label}: {type(error).__name__}: {error}") from error
        outputs: dict[str, Committed] = {}
        dropped: dict[str, int] = {}
        if self.stage.drop_reasons:
            outputs["drops.jsonl"] = measure_output(staging, Output("drops.jsonl", DropRecord, 0))
            dropped = count_reasons(staging / "drops.jsonl")
        for output in self.stage.outputs:
            if output.min_records == 0 and not (staging / output.path).exists():
                continue
            outputs[output.path] = measure_output(staging, output)
        self._commit(staging, outputs, dropped, None, context.main_figure)

    def parts(self) -> bool:
        """A worker, part by part."""
        main = self.stage.inputs[0]
        if main.name not in self.paths:
            raise UserError(
                f"{self.label}: its input {main.name} is not set; set it in a config file or on the command line"
            )
        source = self.paths[main.name]
        # The fingerprint includes the input's digest, so an existing index is valid.
        index_path = self.folder.work / INDEX
        if index_path.exists():
            index = PartIndex(index_path, source)
        else:
            index = index_parts(source, self.folder.work, self.stage.part_records)
        job = job_for(
            self.stage,
            self.config,
            record_in=_schema(main, self.settings),
            seed=self.seed,
            source=source,
            inputs=self.paths,
            work=self.folder.work,
            device=self.device,
        )
        failures = _Failures(self.stage.max_error_rate, index.records)
        done = sum(1 for part in range(index.parts) if job.part_path(part, index.parts).exists())
        finished = min(done * self.stage.part_records, index.records)
        self.progress.begin_stage(self.label, index.records, finished, _audio_seconds(job, index))

        def on_result(result: PartResult) -> None:
            failures.add(result)
            if result.trace:
                self.progress.log(f"{self.label}, part {result.part}:\n{result.trace}")
            self.progress.advance(result.records, result.dropped, result.audio_seconds)

        self.options.backend.run(
            job, self._open_parts(job, index), on_result, lambda: bool(self.stop) or failures.too_many
        )
        return self._after(job, index, failures)

    def _open_parts(self, job: Job, index: PartIndex) -> Iterator[int]:
        first, step = (0, 1) if self.options.shard is None else (self.options.shard[0] - 1, self.options.shard[1])
        for part in range(first, index.parts, step):
            if not job.part_path(part, index.parts).exists():
                yield part

    def _after(self, job: Job, index: PartIndex, failures: _Failures) -> bool:
        errors_file = self.folder.work / "errors.jsonl"
        if failures.count:
            _collect_errors(job, index, errors_file)
            stopped = f", more than max_error_rate {self.stage.max_error_rate:g} allows" if failures.too_many else ""
            items = "item" if failures.count == 1 else "items"
            raise SpeechkitError(
                f"{self.label}: {failures.count} {items} failed{stopped}; the first, {failures.first}; "
                f"all are in {errors_file}; run again to retry them"
            )
        open_parts = sum(1 for part in range(index.parts) if not job.part_path(part, index.parts).exists())
        if open_parts and self._is_committed():
            return True
        if open_parts:
            if self.stop:
                done = index.parts - open_parts
                raise Interrupted(f"{self.label}: {done} of {index.parts} parts are done; the next run resumes there")
            self.progress.say(
                f"{self.label}: {open_parts} of {index.parts} parts are left to other shards; the last commits"
            )
            return False
        errors_file.unlink(missing_ok=True)
        staging = self.folder.new_staging()
        try:
            outputs, dropped = merge_parts(self.stage, job, index, staging)
            self._commit(staging, outputs, dropped, index.records)
        except (FileNotFoundError, UserError):
            # Another shard has committed the same bytes and cleared the work.
            if not self._is_committed():
                raise
        return True

    def _is_committed(self) -> bool:
        return self.options.shard is not None and read_record(self.folder.final) is not None

    def _commit(
        self,
        staging: Path,
        outputs: dict[str, Committed],
        dropped: dict[str, int],
        records_in: int | None,
        main_figure: str = "",
    ) -> None:
        record = StageRecord(
            recipe=self.settings.recipe.name,
            number=self.stage.number,
            stage=self.stage.name,
            fingerprint=self.folder.fingerprint,
            identity=self.state.identity,
            outputs=outputs,
            output_digest=digest_outputs(outputs),
            records_in=records_in,
            dropped=dropped,
            run={**self._facts(), "main_figure": main_figure},
        )
        self.folder.commit(staging, record, replace=self.options.shard is None)
        self.folder.remove_work()
        remember_outputs(self.folder.final, record, self.contents)

    def _facts(self) -> dict[str, Any]:
        return {
            "config": msgspec.to_builtins(self.config),
            "inputs": {name: str(path) for name, path in self.paths.items()},
            "seconds": round(time.time() - self.began, 3),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S"),
            "host": platform.node(),
            "backend": self.options.backend_name,
            "workers": self.options.workers,
            "shard": self.options.shard,
            "device": self.device,
            "versions": _versions(),
        }


def _audio_seconds(job: Job, index: PartIndex) -> tuple[float, float]:
    """Seconds of audio of all records and of finished parts; zeros if expensive to determine."""
    kind = job.record_in
    measure = getattr(job.run, "audio_seconds", None)
    known = measure not in (None, Worker.audio_seconds) or "duration" in getattr(kind, "__struct_fields__", ())
    if kind is None or measure is None or not known or index.records > MAX_MEASURED:
        return 0.0, 0.0
    worker = job.run(job.config)
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)
    total = finished = 0.0
    for part in range(index.parts):
        lines = index.lines(part)
        seconds = sum(worker.audio_seconds(decode_line(decoder, index.source, *line)) for line in lines)
        total += seconds
        finished += seconds if job.part_path(part, index.parts).exists() else 0.0
    return total, finished


class _Failures:
    def __init__(self, rate: float, records: int) -> None:
        # One bad item in a short input does not stop the others, unless the stage requires it.
        self._allowed = max(1.0, rate * records) if rate else 0.0
        self.count = 0
        self.first = ""

    @property
    def too_many(self) -> bool:
        return self.count > self._allowed

    def add(self, result: PartResult) -> None:
        if result.errors and not self.first:
            error = result.errors[0]
            self.first = f"{error.id} in part {error.part}: {error.error}"
        self.count += len(result.errors)


def _collect_errors(job: Job, index: PartIndex, target: Path) -> None:
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        for part in range(index.parts):
            path = job.part_path(part, index.parts, "errors.jsonl")
            if path.exists():
                with path.open("rb") as source:
                    shutil.copyfileobj(source, file)


def _schema(input_: Any, settings: Settings) -> type | None:
    if isinstance(input_, StageInput) and input_.file is not None:
        return settings.recipe.stage(input_.stage).files.get(input_.file)
    return input_.schema if isinstance(input_, External) else None


def _versions() -> dict[str, str]:
    """Versions of the loaded libraries, which may have affected the result."""
    versions = {"python": platform.python_version()}
    for name in ("speechkit", "numpy", "torch", "transformers", "numba", "onnxruntime"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            versions[name] = str(version)
    return versions
