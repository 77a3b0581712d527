"""Thread counts of the numeric libraries."""

from __future__ import annotations

import os
import sys

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ASKED = "SPEECHKIT_THREADS"
"""Keeps the user's OMP_NUM_THREADS, which `limit_threads` overwrites."""


def available_cpus() -> int:
    """CPUs that this process may run on, which may be fewer than the machine has (containers, SLURM)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def asked_threads() -> int | None:
    """The user's limit ``OMP_NUM_THREADS``; None if not set."""
    asked = os.environ.get(ASKED, os.environ.get(VARIABLES[0], ""))
    return int(asked) if asked.isdecimal() and int(asked) > 0 else None


def limit_threads(count: int) -> None:
    """Let NumPy, torch and OpenMP use ``count`` threads, in this process and those it starts.

    Loaded libraries are set directly, others read the environment. Small matrix products are several times slower on
    oversubscribed threads than on one. numba is not changed: its kernels here use one thread, and it does not allow
    changes after its start.

    Raises:
        ValueError: if ``count`` is less than 1.
    """
    if count < 1:
        raise ValueError(f"a thread count must be at least 1, not {count}")
    os.environ.setdefault(ASKED, os.environ.get(VARIABLES[0], ""))
    for variable in VARIABLES:
        os.environ[variable] = str(count)
    if "numpy" in sys.modules:
        import threadpoolctl

        threadpoolctl.threadpool_limits(count)  # until the next call
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(count)
