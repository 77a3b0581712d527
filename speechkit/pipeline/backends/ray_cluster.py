"""Parts on a ray cluster: tasks for stateless workers, actors for those with a ``setup``, GPUs by ray's count.

Part numbers and counts go through ray, records and audio never do: workers read and write the shared folder.
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

OBJECT_STORE_BYTES = 80 * 1024 * 1024  # ray's minimum is 75 MB, and only counts go through it
POLL_SECONDS = 0.2
STARTS = 4
START_SECONDS = 120
"""How long ray's parts wait for one another at each start, unless the user's variables say otherwise."""
WAIT_VARIABLES = ("RAY_gcs_server_port_wait_time_s", "RAY_raylet_start_wait_time_s")


class PartActor:
    """A worker that lives in the cluster; also used for one part by a task."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._ready: tuple[Job, Any] | None = None

    def run(self, part: int) -> bytes:
        """Do one part; the result is JSON."""
        if self._ready is None:
            # Not in the constructor: what fails here travels back as the error that it is.
            job = decode_job(self._message)
            # ray shows a worker only the GPUs that are its own, counted from 0.
            device = "cuda:0" if job.device.startswith("cuda") else job.device
            self._ready = (job, make_worker(job, device))
        job, worker = self._ready
        return msgspec.json.encode(process_part(job, worker, job.index(), part))


def _run_once(message: bytes, part: int) -> bytes:
    return PartActor(message).run(part)


class RayBackend:
    """``workers`` parts at a time, on the cluster of RAY_ADDRESS or on one started here, which serves the whole run."""

    def __init__(self, workers: int, cpus: int) -> None:
        """``cpus`` are what the most demanding of the run's stages takes for a worker."""
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
        """As `Backend.close`: the cluster ends if it was started here."""
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
        needs = {"num_cpus": job.cpus, "num_gpus": job.gpus}
        has = ray.cluster_resources()
        if job.cpus > has.get("CPU", 0) or job.gpus > has.get("GPU", 0):
            raise UserError(
                f"{job.name} needs {job.cpus} CPUs and {job.gpus:g} GPUs a worker; the ray cluster has "
                f"{has.get('CPU', 0):g} and {has.get('GPU', 0):g} in all, so it would wait for ever"
            )
        message = encode_job(job)
        actor_type = ray.remote(**needs, max_restarts=0)(PartActor)
        # Deaths are counted here for tasks and actors alike, so ray itself tries nothing again.
        task = ray.remote(**needs, max_retries=0)(_run_once)
        again: deque[int] = deque()
        deaths: dict[int, int] = {}
        idle: list[Any] = []
        pending: dict[Any, tuple[int, Any]] = {}
        try:
            while True:
                while len(pending) < self._workers and not stop():
                    part = again.popleft() if again else next(parts, None)
                    if part is None:
                        # An idle actor holds CPUs that one still waiting for its place may need.
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
                    if isinstance(result, str):  # the process died with its part
                        deaths[part] = deaths.get(part, 0) + 1
                        if deaths[part] >= ATTEMPTS:
                            raise crash_error(job, part, deaths[part], result, "")
                        again.append(part)
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
    """Connect to the cluster of RAY_ADDRESS, or start one of ``cpus``; a busy machine gets minutes and several tries.

    Raises:
        SpeechkitError: if there is none in the end.
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
        except Exception as error:  # of many types, from a port that is taken to a process that came too late
            with suppress(Exception):
                ray.shutdown()
            if attempt == STARTS:
                cause = (str(error).strip().splitlines() or ["no message"])[0]
                raise SpeechkitError(
                    f"ray did not start in {STARTS} tries ({type(error).__name__}: {cause}); run again when the "
                    "machine is less busy, or with --backend pool"
                ) from error
            time.sleep(2**attempt)


@contextmanager
def _stdout_on_stderr() -> Iterator[None]:
    """What ray's native threads print goes to the error stream: standard output may be JSON that a program reads."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # a daemon without streams
        yield
        return
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


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
