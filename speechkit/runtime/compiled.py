"""One decorator for the compiled kernels, typed as what it decorates; numba is loaded with this module."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")

# Sums may be taken in any order, which makes them vectors; NaN stays NaN and is found.
SUMS_IN_ANY_ORDER = {"reassoc", "contract", "nsz"}


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile at the first call, keep the machine code beside the source, and let other threads run meanwhile."""
    return cast("Callable[P, R]", njit(cache=True, nogil=True, error_model="numpy")(function))


def compiled_reordering(function: Callable[P, R]) -> Callable[P, R]:
    """As `compiled`, with sums in any order: fast, and equal to rounding between processors."""
    made = njit(cache=True, nogil=True, error_model="numpy", fastmath=SUMS_IN_ANY_ORDER)(function)
    return cast("Callable[P, R]", made)
