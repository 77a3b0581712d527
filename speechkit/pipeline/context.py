"""The context of a whole-set stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from speechkit.errors import UserError
from speechkit.io.atomic import atomic_path, write_error
from speechkit.pipeline.interrupt import Interrupted, StopRequest
from speechkit.pipeline.parts import decode_line
from speechkit.pipeline.progress import Progress
from speechkit.pipeline.stage import DropRecord, Stage

Made = TypeVar("Made")


class Context:
    """Inputs, outputs and settings of a stage that is a function.

    Attributes:
        inputs: paths by name.
        config: the stage's config.
        seed: the stage's seed, derived from the recipe's.
        device: where to compute, "cpu" or "cuda:0".
        scratch: a folder that is kept after an interruption and removed after the commit.
        curves: a folder next to the stage's results for TensorBoard's files, which are kept but not part of the result.
        progress: ``progress.update(done, total)``.
        main_figure: set by the stage: a line printed at the end of a run that ends with it.
    """

    def __init__(
        self,
        stage: Stage,
        config: Any,
        *,
        inputs: Mapping[str, Path],
        schemas: Mapping[str, type | None],
        staging: Path,
        scratch: Path,
        curves: Path,
        seed: int,
        device: str,
        progress: Progress,
        stop: StopRequest,
    ) -> None:
        self.inputs = inputs
        self.config = config
        self.seed = seed
        self.device = device
        self.scratch = scratch
        self.curves = curves
        self.progress = progress
        self.main_figure = ""
        self._stage = stage
        self._schemas = schemas
        self._staging = staging
        self._stop = stop

    @property
    def interrupted(self) -> bool:
        """Whether the user requested a stop: save to `scratch` and raise `Interrupted`."""
        return bool(self._stop)

    def output(self, path: str) -> Path:
        """Where to write a declared output; its parent folder exists.

        Raises:
            UserError: if the stage does not declare it.
        """
        declared = [output.path for output in self._stage.outputs]
        if path not in declared:
            raise UserError(f"stage {self._stage.name} declares no output {path!r}; it has {', '.join(declared)}")
        target = self._staging / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def read(self, name: str) -> Iterator[Any]:
        """The records of a JSON-lines input, streamed and typed by its schema."""
        if name not in self.inputs:
            raise UserError(f"stage {self._stage.name} has no input {name!r}; it has {', '.join(self.inputs)}")
        path, schema = self.inputs[name], self._schemas.get(name)
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(schema if schema is not None else Any)
        try:
            file = path.open("rb")
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        with file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield decode_line(decoder, path, number, line)

    def write(self, path: str, records: Iterable[Any]) -> int:
        """Stream records to a JSON-lines output; returns how many there were."""
        encode = msgspec.json.Encoder().encode
        count = 0
        with atomic_path(self.output(path)) as temporary, temporary.open("wb") as file:
            for record in records:
                file.write(encode(record) + b"\n")
                count += 1
        return count

    def kept(self, name: str, kind: Any, make: Callable[[], Made | None]) -> Made:
        """Compute a part of the result once: a resumed run reads the value from `scratch` instead of calling `make`.

        Args:
            name: name of the value's file in `scratch`, without the suffix ``.json``.
            kind: type of the value, for msgspec.
            make: computes the value; returns None if it was stopped before it was done.

        Raises:
            Interrupted: if ``make`` returned None.
        """
        path = self.scratch / f"{name}.json"
        if path.exists():
            return cast("Made", msgspec.json.decode(path.read_bytes(), type=kind))
        value = make()
        if value is None:
            raise Interrupted
        with atomic_path(path) as temporary:
            temporary.write_bytes(msgspec.json.encode(value))
        return value

    def drop(self, id: str, reason: str, detail: str = "") -> None:  # noqa: A002 - the record's own word
        """Record an item that the stage leaves out.

        Raises:
            UserError: if the stage does not declare the reason.
        """
        if reason not in self._stage.drop_reasons:
            known = ", ".join(self._stage.drop_reasons) or "none"
            raise UserError(f"stage {self._stage.name}: drop reason {reason!r} is not declared ({known})")
        path = self._staging / "drops.jsonl"
        try:
            with path.open("ab") as file:
                file.write(msgspec.json.encode(DropRecord(id, reason, detail)) + b"\n")
        except OSError as error:
            raise write_error(path, error) from error

    def log(self, line: str) -> None:
        """Write a line to the run's log."""
        self.progress.log(line)

    def say(self, line: str) -> None:
        """Write a line for the user, and to the run's log."""
        self.progress.say(line)
