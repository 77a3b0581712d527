"""Process parts on a Ray cluster: tasks for stateless workers, actors for those with a ``setup``; Ray assigns GPUs.

Only part numbers and counts go through Ray; workers read and write records and audio in the shared folder.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import msgspec

from speechkit.errors import SpeechkitError, UserError, require
from speechkit.pipeline.backends import ATTEMPTS
from speechkit.pipeline.backends.pool import crash_error
from speechkit.pipeline.job import Job, PartResult, decode_job, encode_job
from speechkit.pipeline.work import make_worker, process_part

OBJECT_STORE_BYTES = 80 * 1024 * 1024  # Ray's minimum is 75 MB, and only counts go through it
POLL_SECONDS = 0.2
STARTS = 4
START_SECONDS = 120
"""Timeout of Ray's components at each start, unless the user's variables set another."""
WAIT_VARIABLES = ("RAY_gcs_server_port_wait_time_s", "RAY_raylet_start_wait_time_s")


class PartActor:
    """A worker in the cluster; a task uses one for a single part."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._ready: tuple[Job, Any] | None = None

    def run(self, part: int) -> bytes:
        """Process one part; returns its result as JSON."""
        if self._ready is None:
            # Not in the constructor, so that errors are returned to the caller unchanged.
            job = decode_job(self._message)
            # Ray makes only the worker's own GPUs visible, numbered from 0.
            device = "cuda:0" if job.device.startswith("cuda") else job.device
            self._ready = (job, make_worker(job, device))
        job, worker = self._ready
        return msgspec.json.encode(process_part(job, worker, job.index(), part))


def _run_once(message: bytes, part: int) -> bytes:
    return PartActor(message).run(part)


class RayBackend:
    """Processes ``workers`` parts at a time, on the cluster of RAY_ADDRESS or on one started for the run."""

    def __init__(self, workers: int, cpus: int) -> None:
        """``cpus`` are the CPU threads per worker of the run's most demanding stage."""
        self._workers = workers
        self._cpus = cpus
        self._connected: ExitStack | None = None

    def run(
        self, job: Job, parts: Iterator[int], on_result: Callable[[PartResult], None], stop: Callable[[], bool]
    ) -> None:
        """As `Backend.run`."""
        ray: Any = require("ray")
        if self._connected is None:
            self._connected = ExitStack()
            if not ray.is_initialized():
                self._connected.enter_context(_stdout_on_stderr())
                start_cluster(ray, self._workers * self._cpus)
                self._connected.callback(ray.shutdown)
        self._hand_out(ray, job, parts, on_result, stop)

    def close(self) -> None:
        """As `Backend.close`; also stops the cluster if it was started here."""
        if self._connected is not None:
            self._connected.close()

    def _hand_out(
        self,
        ray: Any,
        job: Job,
        parts: Iterator[int],
        on_result: Callable[[PartResult], None],
        stop: Callable[[], bool],
    ) -> None:
        required = {"num_cpus": job.cpus, "num_gpus": job.gpus}
        available = ray.cluster_resources()
        if job.cpus > available.get("CPU", 0) or job.gpus > available.get("GPU", 0):
            raise UserError(
                f"{job.name} needs {job.cpus} CPUs and {job.gpus:g} GPUs per worker, but the ray cluster has only "
                f"{available.get('CPU', 0):g} and {available.get('GPU', 0):g} in total; "
                "lower the stage's resources, or use a larger cluster"
            )
        message = encode_job(job)
        actor_type = ray.remote(**required, max_restarts=0)(PartActor)
        # Crashes of tasks and actors are counted here, so Ray itself must not retry.
        task = ray.remote(**required, max_retries=0)(_run_once)
        to_retry: deque[int] = deque()
        crashes: dict[int, int] = {}
        idle: list[Any] = []
        pending: dict[Any, tuple[int, Any]] = {}
        try:
            while True:
                while len(pending) < self._workers and not stop():
                    part = to_retry.popleft() if to_retry else next(parts, None)
                    if part is None:
                        # An idle actor holds CPUs that a pending one may need.
                        while idle:
                            ray.kill(idle.pop())
                        break
                    actor = None
                    if job.has_setup:
                        actor = idle.pop() if idle else actor_type.remote(message)
                        reference = actor.run.remote(part)
                    else:
                        reference = task.remote(message, part)
                    pending[reference] = (part, actor)
                if not pending:
                    return
                ready, _ = ray.wait(list(pending), timeout=POLL_SECONDS)
                for reference in ready:
                    part, actor = pending.pop(reference)
                    result = _result(ray, reference)
                    if isinstance(result, str):  # the process crashed with its part
                        crashes[part] = crashes.get(part, 0) + 1
                        if crashes[part] >= ATTEMPTS:
                            raise crash_error(job, part, crashes[part], result, "")
                        to_retry.append(part)
                        continue
                    if actor is not None:
                        idle.append(actor)
                    on_result(result)
        finally:
            for reference, (_, actor) in pending.items():
                if actor is None:
                    ray.cancel(reference, force=True)
                else:
                    ray.kill(actor)
            for actor in idle:
                ray.kill(actor)


def start_cluster(ray: Any, cpus: int) -> None:
    """Connect to the cluster of RAY_ADDRESS, or start one with ``cpus``, with long timeouts and several attempts.

    Raises:
        SpeechkitError: if all attempts fail.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if not os.environ.get("RAY_ADDRESS"):
        options |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        for name in WAIT_VARIABLES:
            os.environ.setdefault(name, str(START_SECONDS))
    for attempt in range(1, STARTS + 1):
        try:
            ray.init(**options)
            return
        except Exception as error:  # of many types, from a port in use to a timeout
            with suppress(Exception):
                ray.shutdown()
            if attempt == STARTS:
                cause = (str(error).strip().splitlines() or ["no message"])[0]
                raise SpeechkitError(
                    f"ray did not start in {STARTS} attempts ({type(error).__name__}: {cause}); run again when the "
                    "machine is less busy, or with --backend pool"
                ) from error
            time.sleep(2**attempt)


@contextmanager
def _stdout_on_stderr() -> Iterator[None]:
    """Redirect the output of Ray's native threads to stderr, since stdout may be JSON for another program."""
    sys.stdout.flush()
    try:
        saved = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # a daemon without streams
        yield
        return
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)


def _result(ray: Any, reference: Any) -> PartResult | str:
    try:
        return msgspec.json.decode(ray.get(reference), type=PartResult)
    except (
        ray.exceptions.ActorDiedError,
        ray.exceptions.ActorUnavailableError,
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.OutOfMemoryError,
    ) as error:
        return type(error).__name__
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, SpeechkitError):
            raise type(cause)(str(cause)) from error
        raise SpeechkitError(f"{type(cause).__name__}: {cause}") from error
