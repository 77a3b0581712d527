"""Process parts in spawned processes; never forked, since a fork after torch has started threads may deadlock."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import msgspec

from speechkit.errors import SpeechkitError, UserError
from speechkit.pipeline.backends import ATTEMPTS
from speechkit.pipeline.job import Job, PartResult, decode_job, encode_job
from speechkit.runtime import gpu_count

POLL_SECONDS = 0.2  # delay of a stop request; results wake the loop at once
TAIL_BYTES = 2000


class Failure(msgspec.Struct, frozen=True, tag=True):
    """A worker's own report of a fatal error."""

    message: str
    exit_code: int
    trace: str


class Done(msgspec.Struct, frozen=True, tag=True):
    """A part's result."""

    result: PartResult


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker is set up."""


@dataclass
class _WorkerProcess:
    process: BaseProcess
    pipe: Connection
    log: Path
    part: int | None = None


class PoolBackend:
    """``workers`` processes, each with its own worker; a crashed one is replaced and its part is repeated."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(
        self, job: Job, parts: Iterator[int], on_result: Callable[[PartResult], None], stop: Callable[[], bool]
    ) -> None:
        """As `Backend.run`."""
        message = encode_job(job)
        to_retry: deque[int] = deque()
        crashes: dict[int, int] = {}
        workers: list[_WorkerProcess] = []
        exhausted = False
        number = 0
        try:
            while True:
                for worker in workers:
                    if worker.part is None and not stop():
                        part = to_retry.popleft() if to_retry else next(parts, None)
                        if part is None:
                            exhausted = True
                        else:
                            _send_part(worker, part)
                # Start a process only for a waiting part, so that short inputs start few.
                while not stop() and len(workers) < self._workers and (to_retry or not exhausted):
                    part = to_retry.popleft() if to_retry else next(parts, None)
                    if part is None:
                        exhausted = True
                        break
                    workers.append(_start(job, message, number))
                    number += 1
                    workers[-1].part = part  # sent now; the process reads it after its setup
                    _send_part(workers[-1], part)
                busy = [worker for worker in workers if worker.part is not None]
                if not busy:
                    return
                for ready in wait([worker.pipe for worker in busy], POLL_SECONDS):
                    worker = next(worker for worker in busy if worker.pipe is ready)
                    answer = _receive(worker)
                    if isinstance(answer, Failure):
                        raise _failed(answer)
                    if isinstance(answer, Done):
                        worker.part = None
                        on_result(answer.result)
                    elif answer is None:
                        workers.remove(worker)
                        to_retry.append(_register_crash(job, worker, crashes))
        finally:
            _end(workers)

    def close(self) -> None:
        """As `Backend.close`."""


def _start(job: Job, message: bytes, number: int) -> _WorkerProcess:
    context = multiprocessing.get_context("spawn")
    parent_pipe, child_pipe = context.Pipe()
    log = job.work / f"worker-{number}.log"
    device = job.device
    if device.startswith("cuda"):
        device = f"cuda:{number % max(1, gpu_count())}"
    process = context.Process(target=serve, args=(child_pipe, message, device, str(log)), daemon=True)
    process.start()
    child_pipe.close()
    return _WorkerProcess(process, parent_pipe, log)


def serve(pipe: Connection, message: bytes, device: str, log: str) -> None:
    """Main loop of a worker process: receive parts and send results until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _write_to(log)
    from speechkit.pipeline.work import make_worker, process_part

    try:
        job = decode_job(message)
        worker = make_worker(job, device)
        index = job.index()
        pipe.send_bytes(msgspec.json.encode(Ready()))
        while True:
            part = int.from_bytes(pipe.recv_bytes(), "big")
            pipe.send_bytes(msgspec.json.encode(Done(process_part(job, worker, index, part))))
    except (EOFError, BrokenPipeError):
        return  # the parent has ended
    except Exception as error:
        code = error.exit_code if isinstance(error, SpeechkitError) else 1
        text = str(error) if isinstance(error, SpeechkitError) else f"{type(error).__name__}: {error}"
        traceback.print_exc()
        with contextlib.suppress(OSError):  # the parent has closed the pipe
            pipe.send_bytes(msgspec.json.encode(Failure(text, code, traceback.format_exc())))


def _write_to(log: str) -> None:
    """Redirect this process's output to a file, to keep it after a crash."""
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    except OSError:
        return  # not writable: processing the parts will report it
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _send_part(worker: _WorkerProcess, part: int) -> None:
    worker.part = part
    with contextlib.suppress(OSError):  # it has crashed; the next wait finds the closed pipe
        worker.pipe.send_bytes(part.to_bytes(8, "big"))


def _receive(worker: _WorkerProcess) -> Done | Failure | Ready | None:
    try:
        return msgspec.json.decode(worker.pipe.recv_bytes(), type=Done | Failure | Ready)
    except (EOFError, OSError):
        return None


def _failed(failure: Failure) -> SpeechkitError:
    error = (UserError if failure.exit_code == UserError.exit_code else SpeechkitError)(failure.message)
    error.__cause__ = RuntimeError(f"in a worker process:\n{failure.trace}")
    return error


def _register_crash(job: Job, worker: _WorkerProcess, crashes: dict[int, int]) -> int:
    part = worker.part
    assert part is not None
    worker.process.join()
    worker.pipe.close()
    crashes[part] = crashes.get(part, 0) + 1
    if crashes[part] >= ATTEMPTS:
        raise crash_error(job, part, crashes[part], _cause(worker.process.exitcode), _tail(worker.log))
    return part


def crash_error(job: Job, part: int, times: int, cause: str, tail: str) -> SpeechkitError:
    """The error for a part that crashes its worker repeatedly."""
    output = f"; its last output: {tail}" if tail else ""
    return SpeechkitError(
        f"{job.name}: part {part} of {job.index().parts} crashed its worker {times} times ({cause}){output}"
    )


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"{name}, possibly out of memory" if name == "SIGKILL" else name
    return f"exit code {exit_code}"


def _tail(log: Path) -> str:
    try:
        text = log.read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-3:])


def _end(workers: list[_WorkerProcess]) -> None:
    for worker in workers:
        worker.pipe.close()
        if worker.part is not None:
            worker.process.terminate()
    for worker in workers:
        worker.process.join(5)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
