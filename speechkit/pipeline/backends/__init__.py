"""Backends that process parts: this process, spawned processes, or a Ray cluster. Results do not depend on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from speechkit.errors import UserError
from speechkit.pipeline.job import Job, PartResult

BACKENDS = ("inline", "pool", "ray")
ATTEMPTS = 3
"""How often a part may crash its worker before the run stops."""


class Backend(Protocol):
    """Runs parts of a job until they are done or ``stop`` is true."""

    def run(
        self, job: Job, parts: Iterator[int], on_result: Callable[[PartResult], None], stop: Callable[[], bool]
    ) -> None:
        """Process ``parts``; when ``stop`` becomes true, running parts are finished.

        Raises:
            SpeechkitError: if a worker fails as a whole.
        """

    def close(self) -> None:
        """Release resources kept between stages."""


def make_backend(name: str, workers: int, cpus: int = 1) -> Backend:
    """Create a backend by name; close it at the end of the run.

    Args:
        name: "inline", "pool" or "ray".
        workers: number of workers.
        cpus: CPU threads of the most demanding worker.

    Raises:
        UserError: if the name is unknown, or the number of workers is below 1.
    """
    if workers < 1:
        raise UserError(f"--workers is {workers}; give 1 or more")
    if name == "inline":
        from speechkit.pipeline.backends.inline import InlineBackend

        return InlineBackend()
    if name == "pool":
        from speechkit.pipeline.backends.pool import PoolBackend

        return PoolBackend(workers)
    if name == "ray":
        from speechkit.pipeline.backends.ray_cluster import RayBackend

        return RayBackend(workers, cpus)
    raise UserError(f"no backend {name!r}; choose {', '.join(BACKENDS)}")
