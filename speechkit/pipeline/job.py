"""A worker stage's job as plain data, for any process on any machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from speechkit.pipeline.parts import INDEX, PartIndex
from speechkit.pipeline.stage import Stage, Worker
from speechkit.shipped import find_type, type_name


class Job(msgspec.Struct, frozen=True):
    """Data shared by all parts of a stage run; paths are absolute, since workers may have other working folders."""

    name: str
    run: type
    config_type: type
    config: Any
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

    def index(self) -> PartIndex:
        """The borders of the parts."""
        return PartIndex(self.work / INDEX, self.source)

    def part_path(self, part: int, parts: int, suffix: str = "jsonl") -> Path:
        """A part's file, which exists when the part is done."""
        return self.work / f"part-{part:05d}-of-{parts:05d}.{suffix}"

    def shard_path(self, part: int, parts: int) -> Path:
        """The file of the part's arrays."""
        return self.work / "arrays" / f"{part:05d}-of-{parts:05d}.safetensors"

    @property
    def has_setup(self) -> bool:
        """Whether a worker has a `setup`."""
        setup = getattr(self.run, "setup", None)
        return setup is not None and setup is not Worker.setup


def encode_job(job: Job) -> bytes:
    """The job for another process as JSON: types by name, paths as text.

    Raises:
        UserError: if a class cannot be found by its name in another process.
    """
    return msgspec.json.encode(job, enc_hook=lambda value: type_name(value) if isinstance(value, type) else str(value))


def decode_job(message: bytes) -> Job:
    """Decode what `encode_job` wrote; recipes of its types are loaded."""

    def decode(kind: type, text: str) -> Any:
        return Path(text) if kind is Path else find_type(text)

    job = msgspec.json.decode(message, type=Job, dec_hook=decode)
    return msgspec.structs.replace(job, config=msgspec.convert(job.config, job.config_type, str_keys=True))


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
) -> Job:
    """The job of a worker stage."""
    if not isinstance(stage.run, type):
        raise TypeError(f"stage {stage.name} is not a worker stage")
    return Job(
        name=f"stage {stage.number} {stage.name}",
        run=stage.run,
        config_type=type(config),
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
    )


class ItemError(msgspec.Struct, frozen=True):
    """A line of ``errors.jsonl``: an item that the next run retries."""

    id: str
    error: str
    part: int


class PartResult(msgspec.Struct, frozen=True):
    """Result of one part, sent back by a worker."""

    part: int
    records: int = 0
    written: int = 0
    dropped: int = 0
    audio_seconds: float = 0.0
    errors: list[ItemError] = msgspec.field(default_factory=list)
    trace: str = ""
