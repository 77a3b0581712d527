"""One decorator for the compiled kernels, typed as what it decorates."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile at the first call, keep the machine code beside the source, and let other threads run meanwhile."""
    return cast("Callable[P, R]", njit(cache=True, nogil=True, error_model="numpy")(function))
