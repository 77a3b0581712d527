"""A whole-set stage in several processes of one machine that compute together, as a training on several GPUs does.

torchrun starts processes, too, but neither passes on a request to stop nor says in one sentence why a process failed:
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
"""How soon a request to stop is passed on."""
PLACE = "SPEECHKIT_PROCESS"
"""A variable of our own, since a cluster may set ``RANK`` for a run that computes alone."""
END_SECONDS = 10.0
"""So long the others may take to end when one has failed."""


def run_together(function: Callable[[Context], None], context: Context, count: int) -> None:
    """Call a function of a stage in ``count`` processes at once, each with the stage's context.

    The processes know of one another as those of ``torchrun`` do (``RANK``, ``WORLD_SIZE`` …), so that
    `speechkit.training.train` shares the steps between them; `is_first` says which of them writes. What the first one
    says is said here; a request to stop reaches all of them.

    Args:
        function: of the top level of a module.
        context: of the stage.
        count: processes; 1 calls the function here.

    Raises:
        Interrupted: if they stopped on request.
        SpeechkitError: what a process says that failed.
    """
    if count == 1:
        function(context)
        return
    spawning = multiprocessing.get_context("spawn")
    stop = spawning.Event()
    far = copy.copy(context)
    far.progress, far._stop = None, None  # type: ignore[assignment]  # each process has its own
    rendezvous = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    # Threads that wait for one another cost more than they give, and are counted when torch is imported.
    threads = {"OMP_NUM_THREADS": str(max(1, available_cpus() // count))} if context.device == "cpu" else {}
    quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # it warns where a first step happens to use all layers
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
    """So many processes as are asked for; for 0, one for each GPU of a run that computes on them."""
    if asked:
        return asked
    return max(1, gpu_count()) if device.startswith("cuda") else 1


def is_first() -> bool:
    """Whether this process is the one that writes what all have computed together."""
    return os.environ.get(PLACE, "0") == "0"


def _attend(context: Context, processes: list[tuple[BaseProcess, Connection]], stop: Any) -> None:
    """Pass on what is said and a request to stop, until all have ended."""
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
                    f"a process of the stage ended without a word (exit {process.exitcode}), perhaps for want of "
                    "memory; give it fewer seconds a batch, or fewer processes"
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
    """What `Progress` is to a stage, in another process: the first one's words go to the run, others are not heard."""

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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run's own process passes the request on
    context.progress = _FarProgress(pipe, is_first())  # type: ignore[assignment]
    context._stop = _FarStop(stop)  # type: ignore[assignment]
    try:
        function(context)
        pipe.send(("done",))
    except Interrupted:
        pipe.send(("interrupted",))
    except BaseException as error:  # whatever it is, the run has to hear of it
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
    """With these variables, for a process to inherit."""
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
        with contextlib.suppress(Exception):  # the others may be gone already
            torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _end(processes: list[BaseProcess]) -> None:
    """None outlives the stage."""
    for process in processes:
        if process.is_alive() and process.exitcode is None:
            process.join(0.5)
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join(END_SECONDS)
        if process.is_alive():
            process.kill()
