"""A worker stage's work as plain data, so that any process on any machine can be told what to do."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import UserError
from speechkit.pipeline.discover import load_recipe_module
from speechkit.pipeline.parts import INDEX, PartIndex
from speechkit.pipeline.stage import Stage
from speechkit.shipped import folder_of


@dataclass(frozen=True)
class Job:
    """Everything that the parts of one stage run have in common."""

    name: str
    run: type
    config: msgspec.Struct
    record_in: type | None
    record_out: type | None
    key: tuple[str, ...]
    drop_reasons: tuple[str, ...]
    batch_size: int
    seed: int
    source: Path
    inputs: dict[str, Path]
    work: Path
    device: str
    cpus: int
    gpus: float
    recipe_file: Path | None = None

    def index(self) -> PartIndex:
        """The borders of the parts."""
        return PartIndex(self.work / INDEX, self.source)

    def part_path(self, part: int, parts: int, suffix: str = "jsonl") -> Path:
        """A part's file; it is there when the part is done."""
        return self.work / f"part-{part:05d}-of-{parts:05d}.{suffix}"

    def shard_path(self, part: int, parts: int) -> Path:
        """The file of the part's arrays."""
        return self.work / "arrays" / f"{part:05d}-of-{parts:05d}.safetensors"

    @property
    def has_setup(self) -> bool:
        """Whether a worker has something to load first."""
        from speechkit.pipeline.stage import Worker

        setup = getattr(self.run, "setup", None)
        return setup is not None and setup is not Worker.setup


class JobMessage(msgspec.Struct, frozen=True):
    """A `Job` as JSON: types by name, config as data, paths as text."""

    name: str
    run: str
    config_type: str
    config: msgspec.Raw
    record_in: str | None
    record_out: str | None
    key: tuple[str, ...]
    drop_reasons: tuple[str, ...]
    batch_size: int
    seed: int
    source: str
    inputs: dict[str, str]
    work: str
    device: str
    cpus: int
    gpus: float
    recipe_file: str | None


def encode_job(job: Job) -> bytes:
    """The job for another process.

    Raises:
        UserError: if a class cannot be found by its name there.
    """
    message = JobMessage(
        name=job.name,
        run=_name_of(job.run),
        config_type=_name_of(type(job.config)),
        config=msgspec.Raw(msgspec.json.encode(job.config)),
        record_in=None if job.record_in is None else _name_of(job.record_in),
        record_out=None if job.record_out is None else _name_of(job.record_out),
        key=job.key,
        drop_reasons=job.drop_reasons,
        batch_size=job.batch_size,
        seed=job.seed,
        source=str(job.source),
        inputs={name: str(path) for name, path in job.inputs.items()},
        work=str(job.work),
        device=job.device,
        cpus=job.cpus,
        gpus=job.gpus,
        recipe_file=None if job.recipe_file is None else str(job.recipe_file),
    )
    return msgspec.json.encode(message)


def decode_job(message: bytes) -> Job:
    """The job that `encode_job` described."""
    told = msgspec.json.decode(message, type=JobMessage)
    if told.recipe_file is not None:
        load_recipe_module(Path(told.recipe_file))
    return Job(
        name=told.name,
        run=_type_of(told.run),
        config=msgspec.json.decode(bytes(told.config), type=_type_of(told.config_type)),
        record_in=None if told.record_in is None else _type_of(told.record_in),
        record_out=None if told.record_out is None else _type_of(told.record_out),
        key=told.key,
        drop_reasons=told.drop_reasons,
        batch_size=told.batch_size,
        seed=told.seed,
        source=Path(told.source),
        inputs={name: Path(path) for name, path in told.inputs.items()},
        work=Path(told.work),
        device=told.device,
        cpus=told.cpus,
        gpus=told.gpus,
        recipe_file=None if told.recipe_file is None else Path(told.recipe_file),
    )


def job_for(
    stage: Stage,
    config: msgspec.Struct,
    *,
    record_in: type | None,
    seed: int,
    source: Path,
    inputs: dict[str, Path],
    work: Path,
    device: str,
    recipe_file: Path | None,
) -> Job:
    """The job of a worker stage; paths become absolute, because workers may stand elsewhere."""
    run = stage.run
    if not isinstance(run, type):
        raise TypeError(f"stage {stage.name} is no worker stage")
    return Job(
        name=f"stage {stage.number} {stage.name}",
        run=run,
        config=config,
        record_in=record_in,
        record_out=stage.outputs[0].schema,
        key=(stage.key,) if isinstance(stage.key, str) else stage.key,
        drop_reasons=stage.drop_reasons,
        batch_size=int(getattr(config, "batch_size", stage.batch_size)),
        seed=seed,
        source=source.absolute(),
        inputs={name: path.absolute() for name, path in inputs.items()},
        work=work.absolute(),
        device=device,
        cpus=stage.resources.cpus,
        gpus=stage.resources.gpus,
        recipe_file=_file_of(run) if recipe_file is None else recipe_file.absolute(),
    )


class ItemError(msgspec.Struct, frozen=True):
    """A line of ``errors.jsonl``: an item that the next run tries again."""

    id: str
    error: str
    part: int


class PartResult(msgspec.Struct, frozen=True):
    """What came of one part; all that travels back from a worker."""

    part: int
    records: int = 0
    written: int = 0
    dropped: int = 0
    audio_seconds: float = 0.0
    errors: list[ItemError] = msgspec.field(default_factory=list)
    trace: str = ""


def _file_of(run: type) -> Path | None:
    folder = folder_of(run.__module__)
    return None if folder is None else folder / "recipe.py"


def _name_of(type_: type) -> str:
    if "<" in type_.__qualname__:
        raise UserError(
            f"{type_.__module__}.{type_.__qualname__} is made inside a function, where other processes cannot find it; "
            "move it to the top level of its module, or use --backend inline"
        )
    return f"{type_.__module__}:{type_.__qualname__}"


def _type_of(name: str) -> Any:
    module_name, _, qualified = name.partition(":")
    if module_name == "builtins":
        import builtins

        return getattr(builtins, qualified)
    found: Any = sys.modules.get(module_name) or importlib.import_module(module_name)
    for attribute in qualified.split("."):
        found = getattr(found, attribute)
    return found
