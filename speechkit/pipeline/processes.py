"""Run a whole-set stage in several processes of one machine, such as training on several GPUs.

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
RANK_VARIABLE = "SPEECHKIT_PROCESS"
"""A variable of our own, since a cluster may set ``RANK`` for single-process runs."""
END_SECONDS = 10.0
"""Time for the others to end after one has failed."""


def run_together(function: Callable[[Context], None], context: Context, count: int) -> None:
    """Call a function of a stage in ``count`` concurrent processes, each with the stage's context.

    The processes are connected as in ``torchrun`` (``RANK``, ``WORLD_SIZE`` …), so that
    `speechkit.training.train` shares the steps between them; `is_first` tells which one writes. The first one's
    messages are shown here; a stop request reaches all of them.

    Args:
        function: defined at the top level of a module.
        context: the stage's context.
        count: number of processes; 1 calls the function directly.

    Raises:
        Interrupted: if they were stopped on request.
        SpeechkitError: the error of a failed process.
    """
    if count == 1:
        function(context)
        return
    spawn = multiprocessing.get_context("spawn")
    stop = spawn.Event()
    remote = copy.copy(context)
    remote.progress, remote._stop = None, None  # type: ignore[assignment]  # each process has its own
    rendezvous = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    # More threads than CPUs are slower; torch reads the count when it is imported.
    threads = {"OMP_NUM_THREADS": str(max(1, available_cpus() // count))} if context.device == "cpu" else {}
    quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # suppresses a warning of DDP if the first step uses all parameters
    processes: list[tuple[BaseProcess, Connection]] = []
    try:
        for rank in range(count):
            parent_pipe, child_pipe = spawn.Pipe(duplex=False)
            variables = {**rendezvous, "RANK": str(rank), "LOCAL_RANK": str(rank), RANK_VARIABLE: str(rank)}
            arguments = (LoadFirst(function), function, remote, child_pipe, stop)
            process = spawn.Process(target=_serve, args=arguments, daemon=True)
            with _environment({**quiet, **variables, **threads}):
                process.start()
            child_pipe.close()
            processes.append((process, parent_pipe))
        _attend(context, processes, stop)
    finally:
        _end([process for process, _ in processes])


def process_count(requested: int, device: str) -> int:
    """The requested number of processes; for 0, one per GPU."""
    if requested:
        return requested
    return max(1, gpu_count()) if device.startswith("cuda") else 1


def is_first() -> bool:
    """Whether this process writes the shared results."""
    return os.environ.get(RANK_VARIABLE, "0") == "0"


def _attend(context: Context, processes: list[tuple[BaseProcess, Connection]], stop: Any) -> None:
    """Forward messages and stop requests until all processes have ended."""
    waiting: dict[Any, BaseProcess] = {pipe: process for process, pipe in processes}
    interrupted = False
    while waiting:
        if context.interrupted:
            stop.set()
        for pipe in wait(list(waiting), POLL_SECONDS):
            try:
                kind, *arguments = cast(Connection, pipe).recv()
            except (EOFError, OSError):
                process = waiting[pipe]
                process.join(END_SECONDS)
                raise UserError(
                    f"a process of the stage ended without a message (exit {process.exitcode}), perhaps out of "
                    "memory; use fewer seconds per batch, or fewer processes"
                ) from None
            if kind == "say":
                context.say(*arguments)
            elif kind == "log":
                context.log(*arguments)
            elif kind == "progress":
                context.progress.update(*arguments)
            elif kind == "failed":
                message, exit_code, trace = arguments
                context.log(trace)
                raise (UserError if exit_code == UserError.exit_code else SpeechkitError)(message)
            else:
                interrupted = interrupted or kind == "interrupted"
                del waiting[pipe]
    if interrupted:
        raise Interrupted


class _RemoteProgress:
    """`Progress` in another process: messages of the first one go to the run, others are discarded."""

    def __init__(self, pipe: Connection, shown: bool) -> None:
        self._pipe = pipe
        self._shown = shown

    def say(self, line: str) -> None:
        self._send("say", line)

    def log(self, line: str) -> None:
        self._send("log", line)

    def update(self, done: int, total: int | None = None) -> None:
        self._send("progress", done, total)

    def _send(self, *message: Any) -> None:
        if self._shown:
            self._pipe.send(message)


class _RemoteStop:
    def __init__(self, event: Any) -> None:
        self._event = event

    def __bool__(self) -> bool:
        return bool(self._event.is_set())


def _serve(_: object, function: Callable[[Context], None], context: Context, pipe: Connection, stop: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent forwards the request
    context.progress = _RemoteProgress(pipe, is_first())  # type: ignore[assignment]
    context._stop = _RemoteStop(stop)  # type: ignore[assignment]
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
    previous = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in previous.items():
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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
