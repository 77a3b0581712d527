"""How many threads the numeric libraries may use."""

from __future__ import annotations

import os
import sys

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ASKED = "SPEECHKIT_THREADS"
"""Keeps what the user's OMP_NUM_THREADS was, since `limit_threads` writes over that."""


def available_cpus() -> int:
    """CPUs that this process may run on, which in a container or a SLURM job are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def asked_threads() -> int | None:
    """The most threads that the user allows by ``OMP_NUM_THREADS``; None without it."""
    asked = os.environ.get(ASKED, os.environ.get(VARIABLES[0], ""))
    return int(asked) if asked.isdecimal() and int(asked) > 0 else None


def limit_threads(count: int) -> None:
    """Let NumPy, torch and OpenMP use ``count`` threads, in this process and those it starts.

    What is loaded already is told directly, what loads later reads the environment. Small matrix products run several
    times slower on threads that wait for one another than on one. numba is left alone: its kernels here use one
    thread, and it refuses a count that changes after its start.

    Raises:
        ValueError: if ``count`` is less than 1.
    """
    if count < 1:
        raise ValueError(f"a thread count is at least 1, not {count}")
    os.environ.setdefault(ASKED, os.environ.get(VARIABLES[0], ""))
    for variable in VARIABLES:
        os.environ[variable] = str(count)
    if "numpy" in sys.modules:
        import threadpoolctl

        threadpoolctl.threadpool_limits(count)  # holds until it is called again
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(count)
