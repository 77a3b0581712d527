"""A whole-set stage in several processes of one machine, such as training on several GPUs.

torchrun also starts processes, but neither forwards a stop request nor reports a failure in one sentence:
``test_a_request_to_stop_reaches_all``, ``test_a_failure_ends_the_others_and_is_told``.
"""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

from speechkit.errors import SpeechkitError, UserError
from speechkit.pipeline.context import Context
from speechkit.pipeline.interrupt import Interrupted
from speechkit.runtime import available_cpus, gpu_count
from speechkit.shipped import LoadFirst

POLL_SECONDS = 0.2
"""Delay of forwarding a stop request."""
PLACE = "SPEECHKIT_PROCESS"
"""Our own variable, since a cluster may set ``RANK`` for single-process runs."""
END_SECONDS = 10.0
"""Time for the others to end after one has failed."""


def run_together(function: Callable[[Context], None], context: Context, count: int) -> None:
    """Call a function of a stage in ``count`` processes at once, each with the stage's context.

    The processes are connected as in ``torchrun`` (``RANK``, ``WORLD_SIZE`` …), so that
    `speechkit.training.train` shares the steps between them; `is_first` tells which one writes. The first one's
    messages are shown here; a stop request reaches all of them.

    Args:
        function: defined at the top level of a module.
        context: the stage's.
        count: processes; 1 calls the function here.

    Raises:
        Interrupted: if they stopped on request.
        SpeechkitError: the error of a failed process.
    """
    if count == 1:
        function(context)
        return
    spawning = multiprocessing.get_context("spawn")
    stop = spawning.Event()
    far = copy.copy(context)
    far.progress, far._stop = None, None  # type: ignore[assignment]  # each process has its own
    rendezvous = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    # More threads than CPUs slow everything down; torch reads the count when it is imported.
    threads = {"OMP_NUM_THREADS": str(max(1, available_cpus() // count))} if context.device == "cpu" else {}
    quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # it warns if the first step happens to use all layers
    processes: list[tuple[BaseProcess, Connection]] = []
    try:
        for rank in range(count):
            ours, theirs = spawning.Pipe(duplex=False)
            named = {**rendezvous, "RANK": str(rank), "LOCAL_RANK": str(rank), PLACE: str(rank)}
            arguments = (LoadFirst(function), function, far, theirs, stop)
            process = spawning.Process(target=_serve, args=arguments, daemon=True)
            with _environment({**quiet, **named, **threads}):
                process.start()
            theirs.close()
            processes.append((process, ours))
        _attend(context, processes, stop)
    finally:
        _end([process for process, _ in processes])


def process_count(asked: int, device: str) -> int:
    """The requested number of processes; for 0, one per GPU."""
    if asked:
        return asked
    return max(1, gpu_count()) if device.startswith("cuda") else 1


def is_first() -> bool:
    """Whether this process writes the shared results."""
    return os.environ.get(PLACE, "0") == "0"


def _attend(context: Context, processes: list[tuple[BaseProcess, Connection]], stop: Any) -> None:
    """Forward messages and a stop request until all have ended."""
    waiting: dict[Any, BaseProcess] = {pipe: process for process, pipe in processes}
    interrupted = False
    while waiting:
        if context.interrupted:
            stop.set()
        for pipe in wait(list(waiting), POLL_SECONDS):
            try:
                kind, *rest = cast(Connection, pipe).recv()
            except (EOFError, OSError):
                process = waiting[pipe]
                process.join(END_SECONDS)
                raise UserError(
                    f"a process of the stage ended without a message (exit {process.exitcode}), perhaps out of "
                    "memory; use fewer seconds per batch, or fewer processes"
                ) from None
            if kind == "say":
                context.say(*rest)
            elif kind == "log":
                context.log(*rest)
            elif kind == "progress":
                context.progress.update(*rest)
            elif kind == "failed":
                message, exit_code, trace = rest
                context.log(trace)
                raise (UserError if exit_code == UserError.exit_code else SpeechkitError)(message)
            else:
                interrupted = interrupted or kind == "interrupted"
                del waiting[pipe]
    if interrupted:
        raise Interrupted


class _FarProgress:
    """`Progress` in another process: messages of the first one go to the run, others are discarded."""

    def __init__(self, pipe: Connection, heard: bool) -> None:
        self._pipe = pipe
        self._heard = heard

    def say(self, line: str) -> None:
        self._send("say", line)

    def log(self, line: str) -> None:
        self._send("log", line)

    def update(self, done: int, total: int | None = None) -> None:
        self._send("progress", done, total)

    def _send(self, *message: Any) -> None:
        if self._heard:
            self._pipe.send(message)


class _FarStop:
    def __init__(self, event: Any) -> None:
        self._event = event

    def __bool__(self) -> bool:
        return bool(self._event.is_set())


def _serve(_: object, function: Callable[[Context], None], context: Context, pipe: Connection, stop: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent forwards the request
    context.progress = _FarProgress(pipe, is_first())  # type: ignore[assignment]
    context._stop = _FarStop(stop)  # type: ignore[assignment]
    try:
        function(context)
        pipe.send(("done",))
    except Interrupted:
        pipe.send(("interrupted",))
    except BaseException as error:  # any error must reach the parent
        if isinstance(error, SpeechkitError):
            message, exit_code = str(error), error.exit_code
        else:
            message, exit_code = f"a process failed: {type(error).__name__}: {error}; the log has more", 1
        pipe.send(("failed", message, exit_code, traceback.format_exc()))
    finally:
        pipe.close()
        _leave_group()


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for child processes."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _leave_group() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        with contextlib.suppress(Exception):  # the others may have ended already
            torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _end(processes: list[BaseProcess]) -> None:
    """End all remaining processes."""
    for process in processes:
        if process.is_alive() and process.exitcode is None:
            process.join(0.5)
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join(END_SECONDS)
        if process.is_alive():
            process.kill()
