"""Who does the parts: this process, spawned processes, or a ray cluster. The bytes do not depend on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from speechkit.errors import UserError
from speechkit.pipeline.job import Job, PartResult

BACKENDS = ("inline", "pool", "ray")
ATTEMPTS = 3
"""How often a part may take its worker down before the run stops."""


class Backend(Protocol):
    """Runs parts of a job until they are done or ``stop`` says so."""

    def run(
        self, job: Job, parts: Iterator[int], on_result: Callable[[PartResult], None], stop: Callable[[], bool]
    ) -> None:
        """Hand out ``parts``; parts in hand are finished when ``stop`` turns true.

        Raises:
            SpeechkitError: if a worker fails as a whole.
        """

    def close(self) -> None:
        """Let go of what it keeps from stage to stage."""


def make_backend(name: str, workers: int, cpus: int = 1) -> Backend:
    """The backend of a name, to be closed at the end of the run.

    Args:
        name: "inline", "pool" or "ray".
        workers: at once.
        cpus: of the most demanding worker.

    Raises:
        UserError: if there is none, or the number of workers makes no sense.
    """
    if workers < 1:
        raise UserError(f"--workers {workers}: at least 1 is needed")
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
