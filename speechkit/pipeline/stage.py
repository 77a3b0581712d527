"""Parts of a recipe: stages, their inputs and outputs, and answers of workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from speechkit.pipeline.context import Context


class _Mark:
    """A mark on a config field, written ``Annotated[type, MARK]``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


NEUTRAL = _Mark("NEUTRAL")
"""Marks a field that does not change the result (workers, device, batch size): it is not in the fingerprint."""
SHARED = _Mark("SHARED")
"""Marks a field that the recipe's top-level key of the same name also sets, for example ``lang=hi``."""


@dataclass(frozen=True)
class Value:
    """One output record, with arrays that are too large for JSON.

    The arrays go to a safetensors shard beside the records; ``record.<field>`` becomes the reference that
    `speechkit.pipeline.arrays.read_record_arrays` resolves.
    """

    record: Any
    arrays: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    field: str = "features"


@dataclass(frozen=True)
class Drop:
    """The record is left out permanently and listed in ``drops.jsonl``, with one of the stage's reasons.

    ``id`` is the input record's unless given; a list answer may have a Drop per piece.
    """

    reason: str
    detail: str = ""
    id: str | None = None


@dataclass(frozen=True)
class Retry:
    """The part stays open, the item is listed in ``errors.jsonl``, and the next run retries it."""

    error: str


class DropRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of ``drops.jsonl``."""

    id: str
    reason: str
    detail: str = ""


class Worker:
    """A stage's work on a batch of records. Subclass it, or write any class with the same names.

    The runner sets ``inputs`` (the stage's inputs by name) and ``seed`` before it calls `setup`. One worker serves
    many batches; it must keep no state that could change results, and write no files. For long recordings it calls
    ``advance`` with the seconds of audio processed since the last call, for progress.
    """

    inputs: Mapping[str, Path]
    seed: int
    advance: Callable[[float], None] = staticmethod(lambda seconds: None)

    def __init__(self, config: Any) -> None:
        self.config = config

    def setup(self, device: str) -> None:
        """Load models onto ``device`` ("cpu", "cuda:0", …); called once in the process that does the work."""

    def process(self, batch: list[Any]) -> Sequence[Any]:
        """One answer for each record of ``batch``, in order.

        An answer is a record, a `Value`, a list of records or Values (one input, several outputs), a `Drop` or a
        `Retry`.
        """
        raise TypeError(f"{type(self).__name__} has no process(batch); a worker needs one")

    def audio_seconds(self, record: Any) -> float:
        """Seconds of audio of an input record, for progress; its ``duration`` unless overridden."""
        return float(getattr(record, "duration", 0.0) or 0.0)


@dataclass(frozen=True)
class StageInput:
    """A file (or the folder) committed by an earlier stage; made by `stage`."""

    stage: str
    file: str | None
    name: str


@dataclass(frozen=True)
class External:
    """A user's file or folder, named by a field of a stage's config; made by `external`."""

    key: str
    schema: type | None
    name: str
    of: str | None = None


@dataclass(frozen=True)
class Model:
    """A model, named by a field of the stage's config; made by `model`."""

    key: str
    digest: Callable[[str], str] | None
    name: str


Input = StageInput | External | Model


def stage(stage_name: str, file: str | None = None, *, name: str | None = None) -> StageInput:
    """An output of an earlier stage, ``context.inputs[name]``; ``name`` is the file's stem unless given.

    Without ``file`` it is the stage's whole folder and its name is the stage's.
    """
    return StageInput(stage_name, file, name or (file.split("/")[-1].split(".")[0] if file else stage_name))


def external(key: str, *, schema: type | None = None, name: str | None = None, of: str | None = None) -> External:
    """A file or folder that the config field ``key`` names. Its content is hashed, its path is not.

    None leaves the input out. The field is the stage's own, or that of the earlier stage ``of``, so that it is given
    only once.
    """
    return External(key, schema, name or key, of)


def model(key: str, *, digest: Callable[[str], str] | None = None, name: str | None = None) -> Model:
    """A model that the config field ``key`` names: a file or folder (hashed by content) or a name (hashed as it is).

    ``digest`` maps the field's value to a digest, for names that do not identify the weights.
    """
    return Model(key, digest, name or key)


@dataclass(frozen=True)
class Output:
    """A file or folder that the stage commits, relative to its folder.

    A ``.jsonl`` output is checked line by line against ``schema`` and must hold ``min_records`` lines; any other must
    exist and not be empty, unless ``min_records`` is 0. ``holds`` are fields and values, such as ``("part", "test")``,
    each of which at least one record must have.
    """

    path: str
    schema: type | None = None
    min_records: int = 1
    holds: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Resources:
    """What one worker of the stage needs: CPU threads and GPUs (fractions are for ray)."""

    cpus: int = 1
    gpus: float = 0


class NoConfig(msgspec.Struct, frozen=True):
    """The config of a stage that has none."""


@dataclass(frozen=True)
class Stage:
    """A numbered step of a recipe.

    ``run`` is a worker class, applied to each record of the first input, or a function of one `Context` that sees
    whole inputs. The number is a stable interface: it is never reused for another stage. ``version`` goes up when the
    code changes the result. ``key`` names the field (or fields) that identify an input record.
    """

    number: int
    name: str
    run: type | Callable[[Context], None]
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    config: type[msgspec.Struct] = NoConfig
    version: int = 1
    resources: Resources = Resources()
    drop_reasons: tuple[str, ...] = ()
    max_error_rate: float = 0.1
    part_records: int = 256
    batch_size: int = 16
    key: str | tuple[str, ...] = "id"

    @property
    def is_worker(self) -> bool:
        """Whether the stage works record by record."""
        return isinstance(self.run, type)

    @property
    def folder_name(self) -> str:
        """The stage's folder inside the recipe's, for example ``02-features``."""
        return f"{self.number:02d}-{self.name}"

    @property
    def files(self) -> dict[str, type | None]:
        """Outputs for later stages, with their schemas."""
        files = {output.path: output.schema for output in self.outputs}
        if self.drop_reasons:
            files["drops.jsonl"] = DropRecord
        return files
