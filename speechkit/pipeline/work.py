"""One part of a worker stage: read, process, write; atomically."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from speechkit.errors import UserError
from speechkit.io.atomic import atomic_path, write_bytes
from speechkit.pipeline.arrays import ShardWriter
from speechkit.pipeline.job import ItemError, Job, PartResult
from speechkit.pipeline.parts import PartIndex, decode_line
from speechkit.pipeline.stage import Drop, DropRecord, Retry, Value

Item = tuple[str, Any]  # an input record and what identifies it

encode = msgspec.json.Encoder().encode


class ContractError(UserError):
    """A worker's answer violates the stage's contract: an error of the code, not the data."""

    exit_code = 1


class _PartOpenError(Exception):
    """The part has items to retry; undoes its writes."""


def make_worker(job: Job, device: str) -> Any:
    """The stage's worker, set up on ``device`` and ready for parts."""
    from speechkit.runtime import asked_threads, limit_threads

    # A fixed number of threads for any number of workers, since parallel sums depend on it.
    limit_threads(min(job.cpus, asked_threads() or job.cpus))
    worker = job.run(job.config)
    worker.inputs = dict(job.inputs)
    worker.seed = job.seed
    setup = getattr(worker, "setup", None)
    if setup is not None:
        setup(device)
    return worker


def process_part(job: Job, worker: Any, index: PartIndex, part: int) -> PartResult:
    """Process one part. Its file appears when every record has an answer; with a Retry it stays open.

    Raises:
        UserError: if the input or the output folder fails, or the worker's answers violate its contract.
    """
    writer = _PartWriter(job, index.parts, part)
    writer.clear_remains()
    try:
        # The records' file marks the part as done, so it is written last.
        with atomic_path(job.part_path(part, index.parts)) as temporary, temporary.open("wb") as file:
            for batch in _batches(job, index, part):
                writer.count(worker, batch)
                for item, answer in zip(batch, _answers(worker, batch, writer), strict=True):
                    writer.write(file, item[0], answer)
            if writer.errors:
                raise _PartOpenError
            writer.finish()
    except _PartOpenError:
        write_bytes(writer.errors_path, b"".join(encode(error) + b"\n" for error in writer.errors))
    finally:
        writer.discard()
    return writer.result()


def _batches(job: Job, index: PartIndex, part: int) -> Iterator[list[Item]]:
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(job.record_in if job.record_in is not None else Any)
    batch: list[Item] = []
    for line_number, line in index.lines(part):
        record = decode_line(decoder, index.source, line_number, line)
        batch.append((_identity(record, job, index, line_number), record))
        if len(batch) == job.batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _identity(record: Any, job: Job, index: PartIndex, line_number: int) -> str:
    try:
        values = [record[name] if isinstance(record, dict) else getattr(record, name) for name in job.key]
    except (KeyError, AttributeError, TypeError) as error:
        raise UserError(
            f"{index.source}:{line_number}: the record has no {error.args[0]!r}; {job.name} identifies records by "
            f"key={job.key[0] if len(job.key) == 1 else job.key!r}"
        ) from error
    return " ".join(str(value) for value in values)


def _answers(worker: Any, batch: list[Item], writer: _PartWriter) -> list[Any]:
    records = [record for _, record in batch]
    try:
        answers = list(worker.process(records))
    except Exception as error:
        if len(batch) == 1:
            return [writer.failed(error)]
        # Process the items of a failed batch one by one, to find the one that fails.
        return [answer for item in batch for answer in _answers(worker, [item], writer)]
    if len(answers) != len(batch):
        raise ContractError(
            f"{writer.job.name}: process() returned {len(answers)} answers for {len(batch)} records; return one each"
        )
    return answers


class _PartWriter:
    def __init__(self, job: Job, parts: int, part: int) -> None:
        self.job = job
        self.part = part
        self.errors: list[ItemError] = []
        self.errors_path = job.part_path(part, parts, "errors.jsonl")
        self._drops_path = job.part_path(part, parts, "drops.jsonl")
        self._shard_path = job.shard_path(part, parts)
        self._drops: list[DropRecord] = []
        self._shard: ShardWriter | None = None
        self._check: Any = None if job.record_out is None else msgspec.json.Decoder(job.record_out).decode
        self._records = self._written = 0
        self._audio_seconds = 0.0
        self._trace = ""

    def clear_remains(self) -> None:
        """Remove errors, drops and arrays of an earlier attempt."""
        for path in (self.errors_path, self._drops_path, self._shard_path):
            path.unlink(missing_ok=True)

    def count(self, worker: Any, batch: list[Item]) -> None:
        self._records += len(batch)
        audio_seconds = getattr(worker, "audio_seconds", None)
        if audio_seconds is not None:
            self._audio_seconds += sum(audio_seconds(record) for _, record in batch)

    def failed(self, error: Exception) -> Retry:
        if not self._trace:  # the first traceback is enough; the others are only named
            self._trace = "".join(traceback.format_exception(error))
        text = str(error).strip()
        first_line = text.splitlines()[0] if text else "no message"
        return Retry(f"{type(error).__name__}: {first_line}")

    def write(self, file: BinaryIO, item: str, answer: Any) -> None:
        if isinstance(answer, Retry):
            self.errors.append(ItemError(item, answer.error, self.part))
        elif isinstance(answer, Drop):
            self._drop(item, answer)
        elif isinstance(answer, (list, tuple)):
            for piece in answer:
                self.write(file, item, piece)
        elif answer is None:
            raise ContractError(
                f"{self.job.name}, item {item}: process() returned None; return a record, a Drop or a Retry"
            )
        else:
            self._write_record(file, item, answer)

    def _write_record(self, file: BinaryIO, item: str, answer: Any) -> None:
        value = answer if isinstance(answer, Value) else Value(answer)
        record = value.record
        if value.arrays:
            key = str(self._written)
            reference = f"arrays/{self._shard_path.name}#{key}"
            if isinstance(record, dict):
                record = {**record, value.field: reference}
            else:
                record = msgspec.structs.replace(record, **{value.field: reference})
            self._arrays(key, value)
        line = encode(record)
        if self._check is not None:
            try:
                self._check(line)
            except msgspec.DecodeError as error:
                raise ContractError(
                    f"{self.job.name}, item {item}: the answer is not a valid record: {error}"
                ) from error
        file.write(line + b"\n")
        self._written += 1

    def _arrays(self, key: str, value: Value) -> None:
        if self._shard is None:
            raw = self._shard_path.with_name(f".tmp-{os.getpid()}-{self._shard_path.name}")
            self._shard = ShardWriter(self._shard_path, raw)
        self._shard.add(key, value.arrays)

    def _drop(self, item: str, drop: Drop) -> None:
        if drop.reason not in self.job.drop_reasons:
            known = ", ".join(self.job.drop_reasons) or "none"
            raise ContractError(f"{self.job.name}, item {item}: drop reason {drop.reason!r} is not declared ({known})")
        self._drops.append(DropRecord(item if drop.id is None else drop.id, drop.reason, drop.detail))

    def finish(self) -> None:
        if self._shard is not None:
            self._shard.finish()
            self._shard = None
        if self._drops:
            write_bytes(self._drops_path, b"".join(encode(drop) + b"\n" for drop in self._drops))

    def discard(self) -> None:
        if self._shard is not None:
            self._shard.discard()

    def result(self) -> PartResult:
        return PartResult(
            part=self.part,
            records=self._records,
            written=0 if self.errors else self._written,
            dropped=0 if self.errors else len(self._drops),
            audio_seconds=self._audio_seconds,
            errors=self.errors,
            trace=self._trace,
        )
